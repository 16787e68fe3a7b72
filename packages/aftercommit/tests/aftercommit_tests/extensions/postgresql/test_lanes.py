"""Locks on lanes: who waits for whom, who does not, and how many there can be."""

from functools import partial
from itertools import count
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Database, Transaction, Unavailable, new_delivery_store
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from anyio.lowlevel import checkpoint
from sqlalchemy import text

from aftercommit_tests.builders import PLAIN, a_thing_id
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS
from aftercommit_tests.inside.claims import MessageContext
from aftercommit_tests.inside.stored import (
    deliveries,
    lock_keys,
    lock_lanes,
    unblock_heads,
)
from aftercommit_tests.test_order_contract import NAMES, NOTE, RING, claimed, make
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

PARTS = 1024  # into which lanes are divided: a session with many locks only these

LOCKS = (
    "SELECT count(*) FROM pg_locks JOIN pg_database AS this ON this.oid = database"
    " WHERE datname = current_database() AND locktype = 'advisory'"
)


@pytest.fixture
async def world(world: World) -> World:
    """A world with ordered handlers, in which all things whose names begin alike have one lane."""
    world.event_handlers = {**PLAIN, ThingMade: [NOTE, RING]}
    world.keys = {ThingMade: lambda event: event.name[0]}
    world.wire()
    return world


@pytest.mark.parametrize("handler", NAMES)
async def test_a_handler_that_is_done_does_not_wait_for_who_has_locked_its_lane(
    world: World, handler: str
) -> None:
    """Its lease would end, and its effect be repeated. The next one is unblocked by no worker.

    What is stored meanwhile has seen that handler at work, and is blocked: nobody else comes by.
    """
    await make(world, "a1")
    await world.end_leases()
    [(_, first)] = await claimed(world, handler)

    async with world.database.write_transaction() as holder:
        await store(holder, world, "a2")
        await world.bus.run([first])
        assert (first.envelope.id, handler) in await world.finished()
        assert await claimed(world, handler) == []
        await holder.commit()

    assert await next_claimed(world, handler) == "a2"


async def test_a_worker_that_ends_when_idle_waits_for_lanes_that_it_has_passed_by(
    world: World,
) -> None:
    """What comes next in them is still to be done, though it is blocked for now."""
    await make(world, "a1")
    await make(world, "a2")
    await world.end_leases()
    worker = Worker(world.application, Shutdown(), concurrency=5)

    with anyio.fail_after(ENOUGH_SECONDS):
        async with (
            anyio.create_task_group() as group,
            world.database.write_transaction() as holder,
        ):
            await lock_lanes(holder, world.database, ["note:a", "ring:a"])
            group.start_soon(partial(worker.run, until_idle=True))
            while len(await world.finished()) < len(NAMES):
                await checkpoint()
            await holder.commit()

    assert await world.lines() == ["a1", "a2"]
    assert await world.deliveries() == {}


async def test_a_lane_that_many_want_goes_on_all_the_same(world: World) -> None:
    """Where there is a line for it, it is never free: who completes in it stands in line, too."""
    await make(world, "a1")
    await make(world, "a2")
    await world.end_leases()
    [(_, first)] = await claimed(world, "ring")
    over = anyio.Event()

    async def keep_locking(database: Database, locked: anyio.Event) -> None:
        while not over.is_set():
            async with database.write_transaction() as transaction:
                await lock_lanes(transaction, database, [first.lane or ""])
                locked.set()
                with anyio.fail_after(ENOUGH_SECONDS):
                    while not await waiting(transaction) and not over.is_set():
                        await checkpoint()

    async with anyio.create_task_group() as group:
        for database in (world.database, world.other_database):
            locked = anyio.Event()
            group.start_soon(keep_locking, database, locked)
            await locked.wait()
        await world.bus.run([first])
        found = await next_claimed(world, "ring")
        over.set()

    assert found == "a2"


async def test_a_process_that_ends_lets_a_lane_go_on_that_it_has_passed_by(
    world: World, url: str
) -> None:
    """It looks once more; of one that is killed a worker finds it, after a minute."""
    await make(world, "a1")
    await make(world, "a2")
    await world.end_leases()
    [(_, first)] = await claimed(world, "ring")

    async with open_database(url) as database:
        database.clock = world.database.clock
        async with world.database.write_transaction() as holder:
            await lock_lanes(holder, world.database, [first.lane or ""])
            await new_delivery_store(database, world.policy).complete(first)
            await holder.commit()

    assert [name for name, _ in await claimed(world, "ring")] == ["a2"]


async def test_a_lane_that_is_passed_by_while_it_is_unblocked_is_unblocked_again(
    world: World,
) -> None:
    """The next one can be done by then, while somebody has locked the lane once more."""
    await make(world, "a1")
    await world.end_leases()
    [(_, first)] = await claimed(world, "ring")
    lane, unblocked = first.lane or "", 0

    def pass_by(_: object, __: object, sql: str, *more: object) -> None:
        nonlocal unblocked
        if "UPDATE aftercommit_events" in sql:  # first of all, its places are given
            unblocked += 1
            if unblocked == 1:
                world.database.passed_lanes[lane] += 1

    sa.event.listen(world.database.engine.sync_engine, "before_cursor_execute", pass_by)
    async with world.other_database.write_transaction() as holder:
        await lock_lanes(holder, world.other_database, [lane])
        await world.bus.run([first])
        assert [*world.database.passed_lanes] == [lane]
        await holder.commit()
    with anyio.fail_after(ENOUGH_SECONDS):
        while world.database.passed_lanes:
            await checkpoint()

    assert unblocked == 2


async def test_a_worker_does_not_wait_for_lanes_that_others_have_locked(world: World) -> None:
    """Those that stand still beside them go on."""
    await make(world, "a1")
    await make(world, "b1")
    await world.end_leases()
    blocked = sa.update(deliveries).where(deliveries.c.handler == "note").values(blocked=True)
    await world.execute(blocked)

    async with world.database.write_transaction() as holder:
        await lock_lanes(holder, world.database, ["note:a"])
        await unblock_heads(world.other_database)
        assert await next_claimed(world, "note") == "b1"
        await holder.commit()

    assert await next_claimed(world, "note") == "a1"


async def test_each_lane_has_a_lock_of_its_own(world: World) -> None:
    """A session that has recorded much holds up nobody else; nor does another application."""
    lanes = [f"note:{number}" for number in range(250)]
    other = next(lane for lane in map(str, count()) if part_of(lane) in map(part_of, lanes))
    async with world.database.write_transaction() as holder:
        await lock_lanes(holder, world.database, lanes)

        assert await can_be_locked(world, other)
        assert not await can_be_locked(world, lanes[0])
        async with world.other_database.write_transaction() as transaction:
            await transaction.execute(text("CREATE SCHEMA other"))
            await transaction.execute(text("CREATE TABLE other.aftercommit_deliveries ()"))
            await transaction.execute(text("SET LOCAL search_path = other"))
            asked = {"if_free": lanes[:1]}
            assert await lock_lanes(transaction, world.other_database, (), **asked) == lanes[:1]


async def test_however_many_lanes_a_transaction_locks_the_server_has_room_for_others(
    world: World,
) -> None:
    """An import may have a lane for each of its rows. It excludes others all the same."""
    lanes = [f"note:{number}" for number in range(5000)]
    async with world.database.write_transaction() as holder:
        await lock_lanes(holder, world.database, lanes)

        assert (await holder.execute(text(LOCKS))).scalar_one() <= 2 * PARTS
        assert not await can_be_locked(world, lanes[-1])
    async with world.database.write_transaction() as holder:
        await lock_lanes(holder, world.database, lanes[:1])
        with pytest.raises(Unavailable, match="lock"):
            async with world.other_database.write_transaction() as transaction:
                await transaction.execute(text("SET LOCAL lock_timeout = '1ms'"))
                await lock_lanes(transaction, world.other_database, lanes)


def part_of(lane: str) -> int:
    [key] = lock_keys([lane])
    return key % PARTS


async def can_be_locked(world: World, lane: str) -> bool:
    """Tell whether nobody has a lane, as one who does not wait asks."""
    async with world.other_database.write_transaction() as transaction:
        return bool(await lock_lanes(transaction, world.other_database, (), if_free=[lane]))


async def waiting(transaction: Transaction) -> bool:
    """Tell whether somebody waits for a lock on a lane."""
    found = await transaction.execute(text(f"{LOCKS} AND NOT granted"))
    return bool(found.scalar_one())


async def store(transaction: Transaction, world: World, name: str) -> None:
    """Store an event and its deliveries, without a commit."""
    made = [(ThingMade(thing_id=a_thing_id(), name=name), name)]
    context = MessageContext(correlation_id=uuid4(), causation_id=uuid4())
    events, new = world.envelopes.of_events(made, context)
    lanes = [each.lane for each in new if each.lane]
    await lock_lanes(transaction, world.database, lanes)
    await world.delivery_store().store(transaction, events, new)


async def next_claimed(world: World, handler: str) -> str:
    """Wait until something is due for a handler, and return its name."""
    with anyio.fail_after(ENOUGH_SECONDS):
        while not (found := await claimed(world, handler)):
            await checkpoint()
    [(name, _)] = found
    return name
