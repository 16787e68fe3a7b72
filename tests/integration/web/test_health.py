"""For those who start, stop and balance processes: alive is not ready."""

from dataclasses import replace

import pytest
from sqlalchemy import text, update

from allocation.adapters import orm
from allocation.config import Settings
from tests.integration.web.conftest import Web, running_web

pytestmark = pytest.mark.anyio


async def why_not_ready(web: Web) -> str:
    """Return the reason, without the token: who probes has none."""
    assert (await web.client.get("/healthz")).json() == {"status": "alive"}
    answer = await web.client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["type"].endswith(":not-ready")
    return str(answer.json()["detail"])


async def test_a_server_is_ready_at_once(web: Web) -> None:
    """What was just registered is owed, but not overdue."""
    await web.register()

    answer = await web.client.get("/readyz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_who_is_about_to_stop_is_not_ready(web: Web) -> None:
    """But answers what still comes."""
    web.stop.set()

    assert await why_not_ready(web) == "draining"
    assert (await web.register()).status_code == 201


async def set_revision(web: Web, revision: str) -> None:
    async with web.application.database.writing() as session:
        await session.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))
        await session.commit()


async def test_whose_schema_is_outdated_is_not_ready(web: Web) -> None:
    """Somebody has gone back a version, or restored an old copy."""
    await set_revision(web, "allocation_0001")

    assert await why_not_ready(web) == "the database schema is outdated"


async def test_who_has_a_newer_schema_is_ready(web: Web) -> None:
    """An upgrade comes before the programs are replaced, and must not take all of them away."""
    await set_revision(web, "allocation_9999")

    assert (await web.client.get("/readyz")).json() == {"status": "ready"}


async def test_where_work_is_overdue_nobody_is_ready(settings: Settings) -> None:
    """It is better to notice than to promise more."""
    async with running_web(replace(settings, dispatch="worker")) as web:
        await web.register()
        async with web.application.database.writing() as session:
            late = orm.deliveries.c.due_at - 1000
            await session.execute(update(orm.deliveries).values(due_at=late))
            await session.commit()

        assert (await why_not_ready(web)).startswith("work is overdue for 100")


async def test_metrics_are_for_the_operator(web: Web) -> None:
    """They tell how much is going on. Whoever scrapes has the token, or a port of its own."""
    await web.register()

    refused, told = await web.client.get("/metrics"), await web.get("/metrics")

    assert (refused.status_code, told.status_code) == (401, 200)
    assert told.headers["content-type"].startswith("text/plain")
    assert 'allocation_commands_total{command="register_user",outcome="done"} 1.0' in told.text
