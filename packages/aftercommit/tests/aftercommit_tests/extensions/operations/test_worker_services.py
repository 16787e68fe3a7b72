"""What runs beside a worker: old history goes by itself, and what nobody can do is warned of."""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Application
from aftercommit.process.running_services import Shutdown

from aftercommit_tests.builders import MARIA, NAMES
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.operations.conftest import complete, make_things
from aftercommit_tests.inside.operations import (
    handler_pauses,
    unclaimable_deliveries,
    worker_services,
)
from aftercommit_tests.inside.settings import OperationsSettings
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.app import Settings
from aftercommit_tests.things.handlers import look_at
from aftercommit_tests.world import START, World

pytestmark = pytest.mark.anyio

DAY = 86400.0
FOR_EVER = Settings()


@asynccontextmanager
async def serving(settings: Settings, application: Application) -> AsyncIterator[None]:
    """Run the services of a worker."""
    stop = Shutdown()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for service in worker_services.worker_services(settings):
                group.start_soon(service, application, stop)
            yield
            stop.set()


async def logged(caplog: pytest.LogCaptureFixture, text: str, *, times: int = 1) -> None:
    while caplog.text.count(text) < times:  # noqa: ASYNC110 - the log has no event
        await anyio.sleep(0.01)


def keeping(days: float) -> Settings:
    return Settings(of_extensions=(OperationsSettings(retention_days=days),))


async def test_a_worker_prunes_beside_its_work(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it was asked to; until it is told to stop."""
    caplog.set_level(logging.INFO)
    await complete(world, *await make_things(world, 3))
    await world.move_clock(2 * DAY)
    await complete(world, young := await world.make_thing())
    await world.move_clock(DAY)

    async with serving(keeping(1.5), world.application):
        await logged(caplog, "3 events older than 1.5 days pruned")

    assert await world.event_ids() == {young["announce"].envelope.id}


async def test_a_database_that_is_away_does_not_end_the_worker(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later."""
    monkeypatch.setattr(worker_services, "PRUNE_SECONDS", 0.01)
    monkeypatch.setattr(worker_services, "WARN_SECONDS", 0.01)
    world = await new_world()
    await world.execute(sa.text("ALTER TABLE aftercommit_events RENAME TO away"))

    async with serving(keeping(1), world.application):
        await logged(caplog, "old history could not be pruned", times=2)
        await logged(caplog, "cannot find out which deliveries are overdue", times=2)


@pytest.mark.parametrize(
    ("changed", "handlers", "count"),
    [
        ({}, ["announce", "look_at"], 1),
        ({"type": "thing_vanished"}, NAMES, 3),
        ({"schema_version": 99}, NAMES, 3),
    ],
)
async def test_what_nobody_here_can_do_is_found_when_it_is_overdue(
    world: World, changed: dict[str, str | int], handlers: Collection[str], count: int
) -> None:
    """It is never given up by itself. Nobody is warned of what is paused: somebody wants it so."""
    lease = world.policy.lease_seconds
    await world.make_thing()
    if changed:
        await world.execute(sa.update(tables.events).values(**changed))
    await world.end_leases()
    assert await unclaimable_deliveries(world.database, handlers, overdue=lease) == []

    await world.move_clock(lease)

    found = await unclaimable_deliveries(world.database, handlers, overdue=lease)
    assert sum(row.number for row in found) == count
    await handler_pauses.pause(world.database, NAMES, MARIA)
    assert await unclaimable_deliveries(world.database, handlers, overdue=lease) == []


async def test_a_worker_warns_of_what_was_written_while_the_clock_was_ahead(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What is due with it waits for no reason that anybody could see."""
    await world.make_thing()
    assert await worker_services.seconds_ahead(world.database) <= 0
    await world.move_clock(-3600)

    async with serving(FOR_EVER, world.application):
        await logged(caplog, "the newest event is from 3600 s ahead of the clock")


async def test_what_nobody_here_can_do_is_told_once(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a warning, and not once a minute: what is overdue, and at start each unknown name.

    Also of what is for later or paused: when that falls due, its old name may be forgotten. What
    only lacks a server has a known name. Without a limit, nothing is pruned meanwhile.
    """
    looks = 0

    async def looked(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return await unclaimable_deliveries(*args, **kwargs)

    monkeypatch.setattr(worker_services, "unclaimable_deliveries", looked)
    monkeypatch.setattr(worker_services, "WARN_SECONDS", 0.01)
    await complete(world, await world.make_thing())
    await world.move_clock(10**9)
    await world.delivery_store().release([*(await world.make_thing()).values()])
    is_for_later = tables.deliveries.c.handler == "announce", tables.deliveries.c.owner.is_(None)
    in_days = sa.update(tables.deliveries).where(*is_for_later)
    await world.execute(in_days.values(available_at=world.database.clock + 25 * DAY))
    await handler_pauses.pause(world.database, ["announce"], MARIA)
    await world.move_clock(world.policy.lease_seconds + 1)
    world.event_handlers = on_made(look_at)
    world.wire()
    world.application = replace(world.application, handlers={"look_at": "", "write_down": ""})

    async with serving(FOR_EVER, world.application):
        while looks < 4:  # noqa: ASYNC110 - the database has no event
            await anyio.sleep(0.01)

    ours = [r.getMessage() for r in caplog.records if r.name == worker_services.__name__]
    old, overdue, clocks, unknown = sorted(message.partition(": this ")[0] for message in ours)
    due = datetime.fromtimestamp(START + 10**9 + 25 * DAY, UTC)
    told = f"unknown handler announce: 1 delivery stored, the first due {due:%FT%TZ}"
    assert old.startswith("1 event is older than 90 days, and nothing deletes old events")
    assert clocks.startswith("the clock of the database is ")
    assert (overdue, unknown) == ("overdue: thing_made for write_down (1)", told)
    assert len(await world.event_ids()) == 2
