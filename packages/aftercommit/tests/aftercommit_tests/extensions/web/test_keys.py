"""Requests under a key, and the trace of the caller: each once, however often it is asked for."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import anyio
import httpx
import pytest
from sqlalchemy import Row, Table

from aftercommit_tests.conftest import database_url
from aftercommit_tests.extensions.web.running import OPERATOR, Web, running_web, stored
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things import storage
from aftercommit_tests.things.app import APP, Settings

__all__ = ["database_url"]  # of each kind

pytestmark = pytest.mark.anyio


async def rows(web: Web, table: Table) -> Sequence[Row[Any]]:
    return await stored(web.application.database, table)


async def rename(web: Web, made: httpx.Response, name: str, **headers: str) -> None:
    """Rename a thing, as the operator."""
    path = f"{made.headers['location']}/name"
    renamed = await web.client.put(path, json={"name": name}, headers=OPERATOR | headers)
    assert (renamed.status_code, renamed.content) == (204, b"")


@pytest.mark.parametrize("change", [{"dispatch": "worker"}, {"max_dispatches": 0}], ids=str)
async def test_dispatch_can_be_left_to_workers(settings: Settings, change: dict[str, Any]) -> None:
    """As everywhere; what is too much is. A front-end that is busy answers all the same."""
    async with running_web(APP, replace(settings, **change)) as web:
        await web.make_thing()
    async with running_web(APP, settings) as web:
        deliveries = await rows(web, tables.deliveries)

    assert {(row.attempts, row.owner, row.completed_at) for row in deliveries} == {(0, None, None)}


async def test_the_same_key_with_the_same_body_gives_the_first_result(web: Web) -> None:
    """A client without an answer asks again; also for an id that the server made, and later."""
    first = await web.make_thing("k1")
    await rename(web, first, "chair")
    again = await web.make_thing('"k1"')  # as the draft spells it

    assert (again.status_code, again.content) == (201, first.content)
    for name in ("location", "x-request-id"):
        assert again.headers[name] == first.headers[name]
    assert len(await rows(web, tables.commands)) == 2
    assert [row.name for row in await rows(web, storage.things)] == ["chair"]


async def test_the_same_key_with_another_body_is_refused(web: Web) -> None:
    """It is a mistake of the caller, who should hear of it."""
    await web.make_thing("k1")

    refused = await web.make_thing("k1", name="chair")

    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:problem-type:things:idempotency-key-reused"
    assert len(await rows(web, storage.things)) == 1


async def test_the_same_key_at_the_same_moment_has_one_effect(web: Web) -> None:
    """The second waits for the first, and gets its result."""
    answers = []

    async def make() -> None:
        answers.append(await web.make_thing("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(make)

    assert {(each.status_code, each.content) for each in answers} == {(201, answers[0].content)}
    assert len(await rows(web, storage.things)) == 1


async def test_keys_of_two_callers_do_not_meet(web: Web) -> None:
    """A key is no secret, and everybody may count from one. No token can be guessed from a source.

    Sources are in backups and on the page: of the operator's token they have not even a hash.
    """
    await web.make_thing("1", name="table", headers=OPERATOR)
    mine = await web.make_thing("1", headers={"Authorization": "Bearer of-a-shop"})
    theirs = await web.make_thing("1", name="chair")

    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["thing_id"] != theirs.json()["thing_id"]
    sources = {row.source for row in await rows(web, tables.commands)}
    assert len(sources) == 3
    assert "http:operator POST /things" in sources
    guesses = ("shop", sha256(b"of-a-shop").hexdigest()[:8])
    assert not any(guess in source for source in sources for guess in guesses)


async def test_a_refusal_is_not_remembered(web: Web) -> None:
    """Nothing was done, so the same key can still do it when it has become possible."""
    first = await web.make_thing()
    refused = await web.make_thing("k1")
    await rename(web, first, "chair")
    accepted = await web.make_thing("k1")

    assert (refused.status_code, accepted.status_code) == (409, 201)
    assert refused.json()["type"] == "urn:problem-type:things:name-taken"


async def test_a_change_under_a_key_happens_once(web: Web) -> None:
    """A late repetition does not undo what came after it."""
    made = await web.make_thing()
    for name, key in (
        ("a", {"Idempotency-Key": "k1"}),
        ("b", {}),
        ("a", {"Idempotency-Key": "k1"}),
    ):
        await rename(web, made, name, **key)

    assert [row.name for row in await rows(web, storage.things)] == ["b"]


async def test_a_deletion_under_a_key_happens_once(web: Web) -> None:
    """Every endpoint that documents the key keeps to it, whatever its method is."""
    made = await web.make_thing()
    keyed = OPERATOR | {"Idempotency-Key": "k1"}
    answers = [await web.client.delete(made.headers["location"], headers=keyed) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[0].headers["x-request-id"] == answers[1].headers["x-request-id"]
    broken = [row for row in await rows(web, tables.events) if row.type == "thing_broken"]
    assert len(broken) == 1


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        (
            {"traceparent": "00-0b6f2c0e5d434f6e9a572f1d3c4b5a69-00f067aa0ba902b7-01"},
            "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69",
        ),
        (
            {"X-Request-ID": "7D3C1A526C0E4A558A1B0C9A3F8D2E11"},
            "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11",
        ),
        ({"X-Request-ID": "a"}, None),
    ],
)
async def test_the_trace_of_the_caller_goes_on(
    web: Web, headers: dict[str, str], trace: str | None
) -> None:
    """Its own id finds here what belongs to it; of any other name, always the same one is made."""
    made = await web.make_thing(headers=headers)
    again, other = [await web.get("/healthz", **each) for each in (headers, {"X-Request-ID": "b"})]

    id_ = trace or again.headers["x-request-id"]
    assert made.headers["x-request-id"] == id_ != other.headers["x-request-id"]
    (command,) = await rows(web, tables.commands)
    (event, *_) = await rows(web, tables.events)
    assert str(command.correlation_id) == str(event.correlation_id) == id_
    assert event.traceparent == headers.get("traceparent")
