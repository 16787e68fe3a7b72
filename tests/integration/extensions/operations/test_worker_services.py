"""What runs beside a worker: old history goes by itself, and what nobody can do is warned of."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.extensions.operations import worker_services
from aftercommit.extensions.operations.settings import OperationsSettings
from aftercommit.extensions.operations.worker_services import unclaimable_deliveries
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.sql import tables

from allocation.config import Settings
from tests.builders import HANDLER_NAMES
from tests.builders import HANDLERS_OF_REGISTRATION as HANDLERS
from tests.integration.extensions.operations.conftest import change, commit_events, settle
from tests.integration.test_outbox_contract import let_leases_end
from tests.worlds import SqlWorld, commit_a_registration

pytestmark = pytest.mark.anyio

DAY = 86400.0
OTHERS = [name for name in HANDLER_NAMES if name != "log_registration"]


@asynccontextmanager
async def serving(
    settings: Settings, database: Any, *, handlers: Collection[str] = HANDLER_NAMES
) -> AsyncIterator[None]:
    """Run the services of a worker that has these handlers."""
    registry = SimpleNamespace(events=dict.fromkeys(handlers))
    parts = SimpleNamespace(database=database, bus=SimpleNamespace(registry=registry))
    stop = Shutdown()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for service in worker_services.worker_services(settings):
                group.start_soon(service, cast("Application", parts), stop)
            yield
            stop.set()


async def logged(caplog: pytest.LogCaptureFixture, text: str, *, times: int = 1) -> None:
    while caplog.text.count(text) < times:  # noqa: ASYNC110 - the log has no event
        await anyio.sleep(0.01)


def keeping(days: float) -> Settings:
    return Settings(of_extensions=(OperationsSettings(retention_days=days),))


async def test_a_worker_prunes_beside_its_work(
    world: SqlWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it was asked to; until it is told to stop."""
    caplog.set_level(logging.INFO)
    await settle(world, await commit_events(world, 3))
    await world.move_clock(2 * DAY)
    young = await commit_a_registration(world, email="young@example.com")

    async with serving(keeping(1.5), world.database):
        await logged(caplog, "3 events older than 1.5 days pruned")

    assert await world.event_ids() == {young[HANDLERS[1]].envelope.id}


async def test_a_database_that_is_away_does_not_end_the_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later."""
    monkeypatch.setattr(worker_services, "PRUNE_SECONDS", 0.01)
    monkeypatch.setattr(worker_services, "WARN_SECONDS", 0.01)

    async with serving(keeping(1), None):
        await logged(caplog, "old history could not be pruned", times=2)
        await logged(caplog, "it is not known what is overdue", times=2)


@pytest.mark.parametrize(
    ("changed", "handlers", "count"),
    [
        ({}, OTHERS, 1),
        ({"type": "user_vanished"}, HANDLER_NAMES, 4),
        ({"schema_version": 99}, HANDLER_NAMES, 4),
    ],
)
async def test_what_nobody_here_can_do_is_found_when_it_is_overdue(
    world: SqlWorld, changed: dict[str, str | int], handlers: Collection[str], count: int
) -> None:
    """It is never given up by itself, and perhaps there is no other process that could."""
    lease = world.policy.lease_seconds
    await commit_a_registration(world)
    if changed:
        await change(world.database, sa.update(tables.events).values(**changed))
    await let_leases_end(world)
    assert await unclaimable_deliveries(world.database, handlers, overdue=lease) == []

    await world.move_clock(lease)

    found = await unclaimable_deliveries(world.database, handlers, overdue=lease)
    assert sum(row.number for row in found) == count


async def test_a_worker_warns_of_what_was_written_while_the_clock_was_ahead(
    world: SqlWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """What is due with it waits for no reason that anybody could see."""
    await commit_events(world, 1)
    assert await worker_services.seconds_ahead(world.database) <= 0
    await world.move_clock(-3600)

    async with serving(Settings(), world.database):
        await logged(caplog, "the newest event is from 3600 s ahead of the clock")


async def test_what_nobody_here_can_do_is_told_once(
    world: SqlWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a warning, and not once a minute. Without a limit, nothing is forgotten meanwhile."""
    looks = 0

    async def looked(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return await unclaimable_deliveries(*args, **kwargs)

    monkeypatch.setattr(worker_services, "unclaimable_deliveries", looked)
    monkeypatch.setattr(worker_services, "WARN_SECONDS", 0.01)
    await settle(world, await commit_events(world, 1))
    await world.move_clock(10**9)
    await commit_a_registration(world, email="late@example.com")
    await let_leases_end(world)
    await world.move_clock(world.policy.lease_seconds)

    async with serving(Settings(), world.database, handlers=OTHERS):
        while looks < 4:  # noqa: ASYNC110 - the database has no event
            await anyio.sleep(0.01)

    (warning,) = [r.getMessage() for r in caplog.records if "overdue" in r.getMessage()]
    assert warning.startswith("overdue: user_registered for log_registration (1): ")
    assert len(await world.deliveries()) == 4
    assert len(await world.event_ids()) == 2
