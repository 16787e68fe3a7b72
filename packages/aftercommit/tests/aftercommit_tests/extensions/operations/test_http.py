"""What an operator sees and decides over HTTP: the same as on the command line."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from aftercommit_tests.extensions.web.running import OPERATOR, Web, running_web, stored
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.app import APP, Settings

pytestmark = pytest.mark.anyio

THING = {"name": "lamp/shade"}


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application, where a thing was made; what follows is left to workers."""
    async with running_web(APP, replace(settings, dispatch="worker")) as web:
        await web.make_thing(**THING)
        yield web


async def decide(web: Web, method: str, path: str, **headers: str) -> httpx.Response:
    return await web.client.request(method, path, headers=OPERATOR | headers)


async def rows(web: Web) -> Sequence[Any]:
    return await stored(web.application.database, tables.deliveries)


async def test_history_and_traces_are_answered(web: Web) -> None:
    """A trace is found by its id, or by a name, which may have a slash in it."""
    [command] = (await web.get("/history?failed=false")).json()

    assert (command["type"], command["about"]) == ("make_thing", "lamp/shade")
    assert (command["done"], command["pending"], command["scheduled"]) == (0, 4, 1)
    assert (await web.get("/history?failed=true")).json() == []
    for about in (command["correlation_id"], command["id"][:8] + "…", "lamp%2Fshade"):
        nodes = (await web.get(f"/traces/{about}")).json()
        assert [node["kind"] for node in nodes] == ["command", "event", *["delivery"] * 5]
    assert (await web.get(f"/traces/{uuid4()}")).status_code == 404


async def test_what_is_outstanding_is_listed_and_decided_about(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """What is decided is logged, with where that came from; what is done is not decided again."""
    outstanding = (await web.get("/deliveries?state=outstanding")).json()
    assert len(outstanding) == 4
    assert len((await web.get("/deliveries?limit=2")).json()) == 2
    assert (await web.get("/deliveries?state=parked")).json() == []
    event_id, handler = outstanding[0]["event_id"], outstanding[0]["handler"]
    path, pause = f"/deliveries/{event_id}/{handler}", "/handlers/look_at/pause"

    with caplog.at_level("INFO"):
        asked = [("POST", f"{path}/retry?reason=mended"), ("DELETE", path)] * 2
        answers = [await decide(web, *each) for each in asked]
        paused = [await decide(web, method, pause) for method in ("PUT", "PUT", "DELETE")]

    assert [answer.status_code for answer in answers] == [204, 204, 404, 404]
    assert [answer.json() for answer in paused] == [{"deliveries": count} for count in (1, 0, 1)]
    assert [row.handler for row in await rows(web) if row.discarded_at] == [handler]
    what, hand = f"of {handler} for event {event_id}", ", by hand, from 127.0.0.1"
    told = [message.removesuffix(hand) for message in caplog.messages if hand in message]
    assert told == [
        f"retry {what}",
        f"discard {what}",
        *["pause of look_at"] * 2,
        "resume of look_at",
    ]
    nodes = (await web.get("/traces/lamp%2Fshade")).json()
    past = {
        node["name"]: [(e["what"], e["why"], e["by"]) for e in node["history"]] for node in nodes
    }
    by = "operator@127.0.0.1"
    assert past[handler] == [("retry", "mended", by), ("discard", None, by)]
    assert past["look_at"] == [("pause", None, by), ("resume", None, by)]
    assert (await decide(web, "DELETE", f"{path}?reason={'x' * 501}")).status_code == 422
    assert (await decide(web, "PUT", "/handlers/nobody/pause")).status_code == 404


async def test_a_retry_under_a_key_happens_once(web: Web) -> None:
    """Its repetition has the first result, whatever has become of the delivery meanwhile."""
    [before, *_] = await rows(web)
    path = f"/deliveries/{before.event_id}/{before.handler}"

    async def retry(**headers: str) -> int:
        return (await decide(web, "POST", f"{path}/retry", **headers)).status_code

    for _ in range(2):
        assert await retry(**{"Idempotency-Key": "k1"}) == 204
        [token] = [row.token for row in await rows(web) if row.handler == before.handler]
        assert token == before.token + 1  # an owner would have lost it once
    await decide(web, "DELETE", path)

    assert [await retry(**{"Idempotency-Key": key}) for key in ("k1", "k2", '"')] == [204, 404, 422]
    noted = [row.type for row in await stored(web.application.database, tables.commands)]
    assert sorted(noted) == ["make_thing", "retry_delivery"]
