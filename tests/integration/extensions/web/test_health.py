"""For those who start, stop and balance processes: alive is not ready."""

from contextlib import AsyncExitStack

import pytest

from allocation.config import Settings
from tests.integration.extensions.web.conftest import Web

pytestmark = pytest.mark.anyio


async def test_who_is_busy_is_ready(web: Web) -> None:
    """All connections are in use, and the database answers: it is not to blame.

    What was just registered is owed, but not overdue.
    """
    await web.register_user()
    async with AsyncExitStack() as opened:
        for _ in range(Settings().pool_size):
            await opened.enter_async_context(web.application.database.read_transaction())
        await web.probes.look()
    answer = await web.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_who_is_about_to_stop_is_not_ready(web: Web) -> None:
    """But alive, and answers what still comes; the other reasons are those of the probes."""
    web.stop.set()

    answer = await web.client.get("/readyz")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["type"].endswith(":not-ready")
    assert answer.json()["detail"] == "draining"
    assert (await web.client.get("/healthz")).json() == {"status": "alive"}
    assert (await web.register_user()).status_code == 201


async def test_metrics_are_for_the_operator(web: Web) -> None:
    """They tell how much is going on. Whoever scrapes has the token, or a port of its own."""
    await web.register_user()

    refused, told = await web.client.get("/metrics"), await web.get("/metrics")

    assert (refused.status_code, told.status_code) == (401, 200)
    assert told.headers["content-type"].startswith("text/plain")
    assert 'allocation_commands_total{command="register_user",outcome="done"} 1.0' in told.text
