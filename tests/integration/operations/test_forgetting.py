"""Old history that owes nothing goes, by hand and by itself: on each database."""

import logging
from typing import Any, cast

import anyio
import pytest
import sqlalchemy as sa

from allocation.adapters import orm
from allocation.adapters.operations.forgetting import count_old, forget
from allocation.adapters.operations.settings import OperationsSettings
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints.operations.forgetting import forgetting
from allocation.entrypoints.running import StopSignal
from allocation.service_layer.envelopes import ReceivedMessage
from allocation.service_layer.exceptions import MessageAlreadyHandled
from tests.builders import a_failure
from tests.integration.operations.test_replaying import commit_events, settle
from tests.integration.test_outbox_contract import HANDLERS, commit_an_event
from tests.worlds import SqlWorld, a_uow

pytestmark = pytest.mark.anyio

DAY = 86400.0


class Parts:
    """What the service needs of an application."""

    def __init__(self, database: Any) -> None:
        self.database = database


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows in each."""
    monkeypatch.setattr("allocation.adapters.operations.batches.BATCH_ROWS", 2)


async def number_of(world: SqlWorld, table: sa.Table) -> int:
    async with world.database.reading() as session:
        found = await session.execute(sa.select(sa.func.count()).select_from(table))
    return int(found.scalar_one())


async def told(caplog: pytest.LogCaptureFixture, text: str, *, times: int = 1) -> None:
    while caplog.text.count(text) < times:  # noqa: ASYNC110 - the log has no event
        await anyio.sleep(0.01)


@pytest.mark.usefixtures("small_batches")
async def test_what_is_young_or_still_owes_work_is_kept(world: SqlWorld) -> None:
    """History may go; debts may not."""
    settled = await commit_events(world, 5)
    owing = await commit_an_event(world, email="owing@example.com")
    await settle(world, settled)
    await world.move_clock(100)
    young = await commit_an_event(world, email="young@example.com")
    await settle(world, [young])

    assert await count_old(world.database, older_than=50) == 6
    assert await forget(world.database, older_than=50) == 5

    kept = {first[HANDLERS[1]].envelope.id for first in (owing, young)}
    assert await world.event_ids() == kept
    assert await number_of(world, orm.deliveries) == 8


async def test_an_event_that_has_a_parked_delivery_is_kept(world: SqlWorld) -> None:
    """A person has to decide about it, and will want to know what it was."""
    first = await commit_an_event(world)
    await world.outbox().record_failure(a_failure(first.pop(HANDLERS[0])))
    await settle(world, [first])
    await world.move_clock(10)

    assert await forget(world.database, older_than=5) == 0

    assert await number_of(world, orm.deliveries) == 4


async def test_what_was_done_about_an_event_goes_with_it(world: SqlWorld) -> None:
    """Its deliveries, and the attempts that failed."""
    first = await commit_an_event(world)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.record_failure(a_failure(first.pop(name), retry_in=0))
    await outbox.settle((await outbox.claim(1, [name]))[0])
    await settle(world, [first])
    assert await number_of(world, orm.failures) == 1
    await world.move_clock(10)

    assert await forget(world.database, older_than=5) == 1

    for table in (orm.events, orm.deliveries, orm.failures):
        assert await number_of(world, table) == 0


@pytest.mark.usefixtures("small_batches")
async def test_a_command_goes_after_the_last_event_of_its_story(world: SqlWorld) -> None:
    """Who looks at an event can still see what began it."""
    first, second, third = [
        await commit_an_event(world, email=f"user{n}@example.com") for n in range(3)
    ]
    await settle(world, [first, third])
    await world.move_clock(10)

    await forget(world.database, older_than=5)
    (context,) = {delivery.envelope.context for delivery in second.values()}
    assert await world.commands() == {context.causation_id}

    await settle(world, [second])
    await forget(world.database, older_than=5)
    assert await world.commands() == set()


async def test_old_messages_are_forgotten_with_the_old_events(world: SqlWorld) -> None:
    """What comes again after that has its effect again: the price of a short memory."""
    message = ReceivedMessage(source="/shop", id="m1")
    async with (uow := a_uow(world, received=message)):
        await uow.commit()
    await world.move_clock(60)

    await forget(world.database, older_than=61)
    with pytest.raises(MessageAlreadyHandled):
        async with a_uow(world, received=message):
            pass

    await forget(world.database, older_than=59)
    async with (uow := a_uow(world, received=message)):
        await uow.commit()


@pytest.mark.usefixtures("small_batches")
async def test_each_event_is_looked_at_once(world: SqlWorld) -> None:
    """What has to stay is not in the way of what may go."""
    await commit_events(world, 4)
    await settle(world, [await commit_an_event(world, email="other@example.com")])
    await world.move_clock(10)
    looked_at: list[int] = []

    assert await forget(world.database, older_than=5, told=looked_at.append) == 1

    assert looked_at == [2, 2, 1]


async def test_a_worker_forgets_beside_its_work(
    world: SqlWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it was asked to; until it is told to stop."""
    caplog.set_level(logging.INFO)
    await settle(world, await commit_events(world, 3))
    await world.move_clock(2 * DAY)
    young = await commit_an_event(world, email="young@example.com")
    settings = Settings(of_rooms=(OperationsSettings(keep_history_days=1.5),))
    application, stop = cast("Application", Parts(world.database)), StopSignal()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(forgetting(settings), application, stop)
            await told(caplog, "3 events older than 1.5 days forgotten")
            stop.set()

    assert await world.event_ids() == {young[HANDLERS[1]].envelope.id}


async def test_without_a_limit_nothing_is_forgotten(world: SqlWorld) -> None:
    """Nobody but you knows what you need."""
    await settle(world, await commit_events(world, 1))
    await world.move_clock(10**9)

    application = cast("Application", Parts(world.database))
    await forgetting(Settings())(application, StopSignal())

    assert len(await world.event_ids()) == 1


async def test_a_database_that_is_away_does_not_end_the_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again later."""
    monkeypatch.setattr("allocation.entrypoints.operations.forgetting.LOOK_SECONDS", 0.01)
    settings = Settings(of_rooms=(OperationsSettings(keep_history_days=1),))
    stop = StopSignal()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            parts = cast("Application", Parts(None))
            group.start_soon(forgetting(settings), parts, stop)
            await told(caplog, "old history could not be forgotten", times=2)
            stop.set()
