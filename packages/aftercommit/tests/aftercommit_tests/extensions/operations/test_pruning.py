"""Old history that owes nothing goes: on each database."""

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled
from aftercommit.extensions.operations.batched_transactions import count_rows

from aftercommit_tests.builders import MARIA, a_failure
from aftercommit_tests.extensions.operations.conftest import complete, make_things
from aftercommit_tests.inside.operations import (
    delivery_admin,
    handler_pauses,
    latest_decisions,
    old_events,
    prune,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_batches")]


async def test_what_is_young_or_still_owes_work_is_kept(world: World) -> None:
    """History may go; debts may not, nor what an operator decides about. Each is looked at once."""
    owing, parked, *completed = await make_things(world, 7)
    await world.delivery_store().record_failure(a_failure(parked.pop("announce")))
    await complete(world, parked, *completed)
    await world.move_clock(100)
    await complete(world, young := await world.make_thing())
    await world.move_clock(10)
    looked_at: list[int] = []

    assert await count_rows(world.database, old_events.old_events(world.database, 50)) == 7
    assert await prune(world.database, older_than=50, advance=looked_at.append) == 5

    kept = {claims["look_at"].envelope.id for claims in (owing, parked, young)}
    assert await world.event_ids() == kept
    assert len(await world.rows(tables.deliveries.c.handler)) == 9
    assert looked_at == [2, 2, 2, 1]


async def test_what_was_done_about_an_event_goes_with_it(world: World) -> None:
    """Its deliveries, the attempts that failed, and what was decided; one of no event, in time."""
    claims, store = await world.make_thing(), world.delivery_store()
    await handler_pauses.pause(world.database, ["look_at"], MARIA)
    await store.record_failure(a_failure(announce := claims.pop("announce"), retry_in=None))
    await delivery_admin.retry(world.database, announce.envelope.id, "announce", MARIA)
    await complete(world, claims, {"again": (await store.claim(1, ["announce"]))[0]})
    assert len(await world.failures()) == 1
    await world.move_clock(10)
    await handler_pauses.resume(world.database, ["look_at"], MARIA)

    assert await prune(world.database, older_than=5, decision=MARIA) == 1

    for table in (tables.events, tables.deliveries, tables.failures):
        assert await world.rows(*table.c) == []
    left = await latest_decisions(world.database, limit=5)
    assert sorted(each.decision for each in left) == ["prune", "resume"]


async def test_a_command_goes_after_the_last_event_of_its_trace(world: World) -> None:
    """Who looks at an event can still see what began it."""
    first, second, third = await make_things(world, 3)
    await complete(world, first, third)
    await world.move_clock(10)

    await prune(world.database, older_than=5)
    assert await world.commands() == {second["announce"].envelope.context.causation_id}

    await complete(world, second)
    await prune(world.database, older_than=5)
    assert await world.commands() == set()


async def test_old_messages_are_forgotten_with_the_old_events(world: World) -> None:
    """What comes again after that has its effect again: the price of a short memory."""
    message = MessageOrigin(source="/shop", id="m1")

    async def receive() -> None:
        async with world.a_uow(received=message):
            pass

    await receive()
    await world.move_clock(60)

    await prune(world.database, older_than=61)
    with pytest.raises(MessageAlreadyHandled):
        await receive()

    await prune(world.database, older_than=59)
    await receive()


async def test_pruning_passes_by_what_is_being_replayed(postgres_world: World) -> None:
    """It neither waits for it, nor takes the event away under it."""
    world = postgres_world
    first, *_ = made = await make_things(world, 3)
    await complete(world, *made)
    await world.move_clock(10)
    event_id = first["announce"].envelope.id
    kept = sa.select(tables.events.c.id).where(tables.events.c.id == event_id)

    async with world.other_database.write_transaction() as replay:
        await replay.execute(kept.with_for_update(read=True, key_share=True))
        with anyio.fail_after(60):
            assert await prune(world.database, older_than=5) == 2

    assert await world.event_ids() == {event_id}
    assert await prune(world.database, older_than=5) == 1
