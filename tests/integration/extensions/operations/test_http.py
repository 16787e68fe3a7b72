"""What an operator sees and decides over HTTP: the same as on the command line."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
from aftercommit.sql import tables

from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web, running_web
from tests.web import OPERATOR, stored

pytestmark = pytest.mark.anyio


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application; what it causes is left to workers."""
    async with running_web(replace(settings, dispatch="worker")) as web:
        yield web


async def test_the_history_tells_of_a_registration(web: Web) -> None:
    """And of nobody's address."""
    registered = await web.register_user()

    (command,) = (await web.get("/history?failed=false")).json()

    assert command["type"] == "register_user"
    assert command["correlation_id"] == registered.headers["x-request-id"]
    assert (command["done"], command["pending"], command["parked"]) == (0, 4, 0)
    assert (await web.get("/history?failed=true")).json() == []


async def test_a_story_is_found_by_what_the_answer_says(web: Web) -> None:
    """By its id, the user, eight digits of either, or the address, which may have a slash in it."""
    registered = await web.register_user(email="i/van@example.com")

    for about in (
        registered.headers["x-request-id"],
        registered.json()["user_id"],
        registered.json()["user_id"][:8] + "…",
        "I%2FVAN@example.com",
    ):
        nodes = (await web.get(f"/traces/{about}")).json()
        assert [node["kind"] for node in nodes] == ["command", "event", *["delivery"] * 4]
    assert (await web.get(f"/traces/{uuid4()}")).status_code == 404
    assert (await web.get("/traces/everything")).status_code == 422


async def test_deliveries_are_listed_retried_and_discarded(web: Web) -> None:
    """What is discarded is not owed any more."""
    await web.register_user()
    owed = (await web.get("/deliveries?state=outstanding")).json()
    assert len(owed) == 4
    assert len((await web.get("/deliveries?limit=2")).json()) == 2
    assert (await web.get("/deliveries?state=parked")).json() == []

    path = f"/deliveries/{owed[0]['event_id']}/{owed[0]['handler']}"
    retried = await web.client.post(f"{path}/retry", headers=OPERATOR)
    discarded = [await web.client.delete(path, headers=OPERATOR) for _ in range(2)]

    assert retried.status_code == 204
    assert [answer.status_code for answer in discarded] == [204, 404]
    assert (await web.client.post(f"{path}/retry", headers=OPERATOR)).status_code == 404
    rows = await stored(web.application.database, tables.deliveries)
    assert [row.discarded_at for row in rows] == [row.completed_at for row in rows]
    assert len([row for row in rows if row.completed_at]) == 1


async def test_what_is_decided_is_logged(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """With where the decision came from; what is done by now is not decided again."""
    await web.register_user()
    owed = (await web.get("/deliveries")).json()[0]
    path = f"/deliveries/{owed['event_id']}/{owed['handler']}"
    with caplog.at_level("INFO"):
        await web.client.post(f"{path}/retry", headers=OPERATOR)
        for _ in range(2):
            await web.client.delete(path, headers=OPERATOR)

    what = f"{owed['handler']} for event {owed['event_id']}, by hand, from 127.0.0.1"
    told = [record.message for record in caplog.records if "by hand" in record.message]
    assert told == [f"retry of {what}", f"discard of {what}"]


async def test_a_handler_is_paused_and_resumed(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    """With who it was; an unknown one is refused."""

    async def decided(method: str, handler: str = "send_welcome_email") -> httpx.Response:
        path = f"/handlers/{handler}/pause"
        return await web.client.request(method, path, headers=OPERATOR)

    await web.register_user()
    with caplog.at_level("INFO"):
        assert (await decided("PUT")).json() == {"deliveries": 1}
    [paused] = await stored(web.application.database, tables.handler_pauses)
    assert (paused.handler, paused.paused_by) == ("send_welcome_email", "operator@127.0.0.1")
    assert "pause of send_welcome_email, by hand, from 127.0.0.1" in caplog.messages
    states = {row["handler"]: row["state"] for row in (await web.get("/deliveries")).json()}
    assert states["send_welcome_email"] == "paused"
    assert (await decided("PUT")).json() == {"deliveries": 0}

    assert (await decided("DELETE")).json() == {"deliveries": 1}
    assert (await decided("PUT", "nobody")).status_code == 404
    assert await stored(web.application.database, tables.handler_pauses) == []


async def test_a_retry_under_a_key_happens_once(web: Web) -> None:
    """Its repetition has the first result, whatever has become of the delivery meanwhile."""
    await web.register_user()
    (owed, *_) = (await web.get("/deliveries")).json()
    path = f"/deliveries/{owed['event_id']}/{owed['handler']}"
    once = OPERATOR | {"Idempotency-Key": "k1"}

    async def token() -> int:
        rows = await stored(web.application.database, tables.deliveries)
        (found,) = (row.token for row in rows if row.handler == owed["handler"])
        return int(found)

    before = await token()
    for _ in range(2):
        assert (await web.client.post(f"{path}/retry", headers=once)).status_code == 204
        assert await token() == before + 1  # an owner would have lost it once
    await web.client.delete(path, headers=OPERATOR)
    answers = [
        await web.client.post(f"{path}/retry", headers=headers)
        for headers in (once, OPERATOR | {"Idempotency-Key": "k2"}, once | {"Idempotency-Key": '"'})
    ]

    assert [answer.status_code for answer in answers] == [204, 404, 422]
    noted = [row.type for row in await stored(web.application.database, tables.commands)]
    assert sorted(noted) == ["register_user", "retry_delivery"]
