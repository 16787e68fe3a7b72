"""What an operator sees and decides over HTTP: the same as on the command line."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aftercommit.sql import tables

from aftercommit_tests.extensions.web.running import OPERATOR, Web, running_web, stored
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
    assert (await web.get(f"/traces/{'x' * 101}")).status_code == 422


async def test_deliveries_are_listed_retried_and_discarded(
    web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    """What is decided is logged, with where that came from; what is done is not decided again."""
    owed = (await web.get("/deliveries?state=outstanding")).json()
    assert len(owed) == 4
    assert len((await web.get("/deliveries?limit=2")).json()) == 2
    assert (await web.get("/deliveries?state=parked")).json() == []
    event_id, handler = owed[0]["event_id"], owed[0]["handler"]
    path = f"/deliveries/{event_id}/{handler}"

    with caplog.at_level("INFO"):
        asked = [("POST", f"{path}/retry?reason=mended"), ("DELETE", path)] * 2
        answers = [await decide(web, *each) for each in asked]

    assert [answer.status_code for answer in answers] == [204, 204, 404, 404]
    assert [row.handler for row in await rows(web) if row.discarded_at] == [handler]
    what = f"{handler} for event {event_id}, by hand, from 127.0.0.1"
    told = [record.message for record in caplog.records if "by hand" in record.message]
    assert told == [f"retry of {what}", f"discard of {what}"]
    [past] = [n["history"] for n in (await web.get("/traces/lamp%2Fshade")).json() if n["history"]]
    assert [(each["what"], each["why"]) for each in past] == [
        ("retry", "mended"),
        ("discard", None),
    ]
    assert {each["by"] for each in past} == {"operator@127.0.0.1"}
    assert (await decide(web, "DELETE", f"{path}?reason={'x' * 501}")).status_code == 422


async def test_a_handler_is_paused_and_resumed(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """With who it was; an unknown one is refused."""
    path = "/handlers/announce/pause"

    with caplog.at_level("INFO"):
        assert (await decide(web, "PUT", path)).json() == {"deliveries": 1}
    [paused] = await stored(web.application.database, tables.handler_pauses)
    assert (paused.handler, paused.paused_by) == ("announce", "operator@127.0.0.1")
    assert "pause of announce, by hand, from 127.0.0.1" in caplog.messages
    states = {row["handler"]: row["state"] for row in (await web.get("/deliveries")).json()}
    assert states["announce"] == "paused"
    assert (await decide(web, "PUT", path)).json() == {"deliveries": 0}

    assert (await decide(web, "DELETE", path)).json() == {"deliveries": 1}
    assert (await decide(web, "PUT", "/handlers/nobody/pause")).status_code == 404
    assert await stored(web.application.database, tables.handler_pauses) == []


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
