"""Requests under a key, and the trace of the caller: each once, however often it is asked for."""

from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID

import anyio
import pytest
from aftercommit.sql import tables

from allocation.adapters import orm
from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web, running_web
from tests.web import OPERATOR, stored

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("change", [{"dispatch": "worker"}, {"max_dispatches": 0}], ids=str)
async def test_dispatch_can_be_left_to_workers(settings: Settings, change: dict[str, Any]) -> None:
    """As everywhere; what is too much is. A front-end that is busy answers all the same."""
    async with running_web(replace(settings, **change)) as web:
        await web.register_user()
    async with running_web(settings) as web:
        rows = await stored(web.application.database, tables.deliveries)

    assert {(row.attempts, row.owner, row.completed_at) for row in rows} == {(0, None, None)}


async def test_the_same_key_with_the_same_body_gives_the_first_result(web: Web) -> None:
    """Whoever never got the answer asks again; also for an id that the server made."""
    first = await web.register_user("k1")
    again = await web.register_user('"k1"')  # as the draft spells it

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(await stored(web.application.database, tables.commands)) == 1


async def test_a_first_result_stays_it_when_the_user_has_changed(web: Web) -> None:
    """Without the key, the same words would be refused now."""
    first = await web.register_user("k1")
    address = {"email": "ivan@example.org"}
    path = f"{first.headers['location']}/email"
    assert (await web.client.put(path, json=address, headers=OPERATOR)).status_code == 204

    again = await web.register_user("k1")
    unknown = await web.register_user(user_id=first.json()["user_id"])

    assert (again.status_code, again.content) == (201, first.content)
    assert unknown.status_code == 409


async def test_the_same_key_with_another_body_is_refused(web: Web) -> None:
    """It is a mistake of the caller, who should hear of it."""
    await web.register_user("k1")

    response = await web.register_user("k1", email="maria@example.com")

    assert response.status_code == 422
    assert response.json()["type"] == "urn:problem-type:allocation:idempotency-key-reused"
    assert len(await stored(web.application.database, orm.users)) == 1


async def test_the_same_key_at_the_same_moment_has_one_effect(web: Web) -> None:
    """The second waits for the first, and gets its result."""
    answers = []

    async def register() -> None:
        answers.append(await web.register_user("k1"))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(register)

    assert {(each.status_code, each.content) for each in answers} == {(201, answers[0].content)}
    assert len(await stored(web.application.database, orm.users)) == 1


async def test_keys_of_two_callers_do_not_meet(web: Web) -> None:
    """A key is no secret, and everybody may count from one. No token can be guessed from a source.

    Sources are in backups and on the page: of the operator's token they have not even a hash.
    """
    batch = {"reference": "WELCOME", "quantity": 10}
    await web.client.post("/coupon-batches", json=batch, headers=OPERATOR)
    mine = await web.register_user("1", headers={"Authorization": "Bearer of-a-shop"})
    theirs = await web.register_user("1", email="maria@example.com")

    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["user_id"] != theirs.json()["user_id"]
    sources = {row.source for row in await stored(web.application.database, tables.commands)}
    assert len(sources) == 3
    assert "http:operator POST /coupon-batches" in sources
    guesses = ("shop", sha256(b"of-a-shop").hexdigest()[:8])
    assert not any(guess in source for source in sources for guess in guesses)


async def test_a_refusal_is_not_remembered(web: Web) -> None:
    """Nothing was done, so the same key can still do it when it has become possible."""
    first = await web.register_user(email="IVAN@example.com")
    refused = await web.register_user("k1")
    path = f"{first.headers['location']}/email"
    await web.client.put(path, json={"email": "x@example.com"}, headers=OPERATOR)

    accepted = await web.register_user("k1")

    assert (refused.status_code, accepted.status_code) == (409, 201)
    assert refused.json()["type"] == "urn:problem-type:allocation:email-already-registered"


async def test_a_change_under_a_key_happens_once(web: Web) -> None:
    """A late repetition does not undo what came after it."""
    path = f"{(await web.register_user()).headers['location']}/email"
    once = OPERATOR | {"Idempotency-Key": "k1"}
    for address, headers in (("a@x.org", once), ("b@x.org", OPERATOR), ("a@x.org", once)):
        response = await web.client.put(path, json={"email": address}, headers=headers)
        assert (response.status_code, response.content) == (204, b"")

    users = (await web.get("/users")).json()
    assert [user["email"] for user in users] == ["b@x.org"]


@pytest.mark.parametrize(
    ("headers", "story"),
    [
        (
            {"traceparent": "00-0b6f2c0e5d434f6e9a572f1d3c4b5a69-00f067aa0ba902b7-01"},
            "0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69",
        ),
        (
            {"X-Request-ID": "7D3C1A526C0E4A558A1B0C9A3F8D2E11"},
            "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11",
        ),
    ],
)
async def test_the_story_of_the_caller_goes_on(
    web: Web, headers: dict[str, str], story: str
) -> None:
    """Whoever traces finds here what belongs to it."""
    response = await web.register_user(headers=headers)

    assert response.headers["x-request-id"] == story
    (command,) = await stored(web.application.database, tables.commands)
    (event, *_) = await stored(web.application.database, tables.events)
    assert str(command.correlation_id) == str(event.correlation_id) == story
    assert event.traceparent == headers.get("traceparent")


async def test_of_any_other_name_the_same_story_is_made(web: Web) -> None:
    """So that a proxy's own ids can be looked for."""
    answers = [await web.get("/healthz", **{"X-Request-ID": name}) for name in ("a", "a", "b")]

    stories = [UUID(answer.headers["x-request-id"]) for answer in answers]
    assert stories[0] == stories[1] != stories[2]
