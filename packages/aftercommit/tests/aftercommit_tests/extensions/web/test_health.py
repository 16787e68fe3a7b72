"""For those who start, stop, balance and watch processes: alive is not ready."""

from contextlib import AsyncExitStack

import pytest

from aftercommit_tests.conftest import database_url
from aftercommit_tests.extensions.web.running import Web
from aftercommit_tests.things.app import Settings

__all__ = ["database_url"]  # of each kind

pytestmark = pytest.mark.anyio


async def test_a_busy_process_is_ready(web: Web) -> None:
    """All connections are in use, and the database answers: it is not to blame.

    What was just made is outstanding, but not overdue.
    """
    await web.make_thing()
    async with AsyncExitStack() as opened:
        for _ in range(Settings().pool_size):
            await opened.enter_async_context(web.application.database.read_transaction())
        await web.probes.look()
    answer = await web.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_a_process_that_is_about_to_stop_is_not_ready(web: Web) -> None:
    """But alive, and answers what still comes; the other reasons are those of the probes."""
    web.stop.set()

    answer = await web.client.get("/readyz")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["type"] == "urn:problem-type:things:not-ready"
    assert answer.json()["detail"] == "draining"
    assert (await web.client.get("/healthz")).json() == {"status": "alive"}
    assert (await web.make_thing()).status_code == 201


async def test_metrics_are_for_the_operator_and_have_the_name_of_the_application(web: Web) -> None:
    """They tell how much is going on. Anyone who scrapes has the token, or a port of its own.

    What is told of the process itself has the names that all programs use.
    """
    await web.make_thing()
    await web.probes.look(with_stats=True)

    refused, told = await web.client.get("/metrics"), await web.get("/metrics")

    assert (refused.status_code, told.status_code) == (401, 200)
    assert told.headers["content-type"].startswith("text/plain")
    assert 'things_commands_total{command="make_thing",outcome="done"} 1.0' in told.text
    names = {line.split()[2] for line in told.text.splitlines() if line.startswith("# TYPE")}
    assert "things_deliveries" in names
    assert {name for name in names if not name.startswith(("things_", "process_"))} == set()
