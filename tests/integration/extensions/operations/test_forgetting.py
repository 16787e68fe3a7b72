"""Old history that owes nothing goes, by hand and by itself: on each database."""

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled
from aftercommit.extensions.operations.batched_transactions import count_rows
from aftercommit.extensions.operations.retention import old_events, prune
from aftercommit.sql import tables

from tests.builders import HANDLERS_OF_REGISTRATION as HANDLERS
from tests.builders import a_failure
from tests.integration.extensions.operations.conftest import commit_events, rows, settle
from tests.worlds import SqlWorld, a_uow, commit_a_registration, sql_world

pytestmark = pytest.mark.anyio


async def number_of(world: SqlWorld, table: sa.Table) -> int:
    return len(await rows(world.database, sa.select(table)))


@pytest.mark.usefixtures("small_batches")
async def test_what_is_young_or_still_owes_work_is_kept(world: SqlWorld) -> None:
    """History may go; debts may not, nor what a person decides about. Each is looked at once."""
    owing, parked, *settled = await commit_events(world, 7)
    await world.outbox().record_failure(a_failure(parked.pop(HANDLERS[0])))
    await settle(world, [parked, *settled])
    await world.move_clock(100)
    young = await commit_a_registration(world, email="young@example.com")
    await settle(world, [young])
    looked_at: list[int] = []

    assert await count_rows(world.database, old_events(world.database, 50)) == 7
    assert await prune(world.database, older_than=50, advance=looked_at.append) == 5

    kept = {first[HANDLERS[1]].envelope.id for first in (owing, parked, young)}
    assert await world.event_ids() == kept
    assert await number_of(world, tables.deliveries) == 12
    assert looked_at == [2, 2, 2, 1]


async def test_what_was_done_about_an_event_goes_with_it(world: SqlWorld) -> None:
    """Its deliveries, and the attempts that failed."""
    first = await commit_a_registration(world)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.record_failure(a_failure(first.pop(name), retry_in=0))
    await outbox.settle((await outbox.claim(1, [name]))[0])
    await settle(world, [first])
    assert await number_of(world, tables.failures) == 1
    await world.move_clock(10)

    assert await prune(world.database, older_than=5) == 1

    for table in (tables.events, tables.deliveries, tables.failures):
        assert await number_of(world, table) == 0


@pytest.mark.usefixtures("small_batches")
async def test_a_command_goes_after_the_last_event_of_its_story(world: SqlWorld) -> None:
    """Who looks at an event can still see what began it."""
    first, second, third = [
        await commit_a_registration(world, email=f"user{n}@example.com") for n in range(3)
    ]
    await settle(world, [first, third])
    await world.move_clock(10)

    await prune(world.database, older_than=5)
    (context,) = {delivery.envelope.context for delivery in second.values()}
    assert await world.commands() == {context.causation_id}

    await settle(world, [second])
    await prune(world.database, older_than=5)
    assert await world.commands() == set()


async def test_old_messages_are_forgotten_with_the_old_events(world: SqlWorld) -> None:
    """What comes again after that has its effect again: the price of a short memory."""
    message = MessageOrigin(source="/shop", id="m1")
    async with a_uow(world, received=message):
        pass
    await world.move_clock(60)

    await prune(world.database, older_than=61)
    with pytest.raises(MessageAlreadyHandled):
        async with a_uow(world, received=message):
            pass

    await prune(world.database, older_than=59)
    async with a_uow(world, received=message):
        pass


async def test_forgetting_passes_by_what_is_being_replayed(postgres_url: str) -> None:
    """It neither waits for it, nor takes the event away under it."""
    async with sql_world(postgres_url) as world:
        first, *_ = committed = await commit_events(world, 3)
        await settle(world, committed)
        await world.move_clock(10)
        event_id = first["log_registration"].envelope.id
        kept = sa.select(tables.events.c.id).where(tables.events.c.id == event_id)

        async with world.other_database.write_transaction() as replay:
            await replay.execute(kept.with_for_update(read=True, key_share=True))
            with anyio.fail_after(60):
                assert await prune(world.database, older_than=5) == 2

        assert await world.event_ids() == {event_id}
        assert await prune(world.database, older_than=5) == 1
