"""At most so many at once, and so many a minute: of all processes, no matter who claims."""

from collections import Counter
from dataclasses import replace

import pytest
from aftercommit import Limited, Ordered, new_delivery_store
from anyio import create_task_group

from aftercommit_tests.builders import PLAIN, a_failure
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Claim, SqlAlchemyDeliveryStore
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, look_at, write_down
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

NAME = "announce"


def limited(world: World, **numbers: int) -> World:
    """Return a world in which announcements have a limit, called "bell"."""
    one: Limited[ThingMade, object] = Limited(announce, name="bell", **numbers)
    world.event_handlers = {**PLAIN, ThingMade: [one, look_at, write_down]}
    world.wire()
    return world


async def made(world: World, count: int) -> None:
    """Make things; what has no limit is claimed at once, and left alone."""
    for _ in range(count):
        assert (await world.make_thing()).keys() == {"look_at", "write_down"}


async def test_only_so_many_run_at_once(world: World) -> None:
    """In all processes together; each that ends lets the next one begin."""
    await made(limited(world, at_once=2), 5)
    one, other = world.delivery_store(), world.delivery_store()

    first = await one.claim(1, [NAME])
    second = await other.claim(10, [NAME])

    assert (len(first), len(second)) == (1, 1)
    assert await one.claim(10, [NAME]) == [] == await other.claim(10, [NAME])
    await one.complete(first[0])
    await other.record_failure(a_failure(second[0], retry_in=60))
    assert len(await one.claim(10, [NAME])) == 2


async def test_what_may_not_begin_is_not_touched(world: World) -> None:
    """It uses up no attempt, and it is due as before."""
    await made(limited(world, at_once=1), 3)
    await world.delivery_store().claim(10, [NAME])
    await world.delivery_store().claim(10, [NAME])

    assert (await world.untouched()).count(NAME) == 2


async def test_a_lease_that_ends_gives_back_its_permit(world: World) -> None:
    """Its process has died, or is frozen: then it is one more. Until then, nothing may begin."""
    await made(limited(world, at_once=2), 4)
    store = world.delivery_store()
    lost = await store.claim(10, [NAME])
    lease = world.policy.lease_seconds
    assert await store.seconds_until_due([NAME]) == pytest.approx(lease)

    await world.end_leases()

    assert len(await world.delivery_store().claim(10, [NAME])) == len(lost) == 2


async def test_a_minute_has_only_so_many_claims(world: World) -> None:
    """After a pause a burst may begin, then one after the other; a released claim counts, too."""
    await made(limited(world, per_minute=24), 30)  # a burst of two, and one each 2.6 s
    store = world.delivery_store()

    burst = await store.claim(10, [NAME])
    await store.release(burst)
    seconds = await store.seconds_until_due([NAME])

    assert len(burst) == 2
    assert await world.delivery_store().claim(10, [NAME]) == []
    assert seconds == pytest.approx(60 / 23, abs=1e-5)
    assert seconds is not None
    await world.move_clock(seconds + 1e-6)
    assert len(await store.claim(10, [NAME])) == 1
    await world.move_clock(60)
    assert len(await store.claim(10, [NAME])) == 2


async def test_a_clock_that_went_back_stops_nothing_for_long(world: World) -> None:
    """What is stored is then far ahead: more than a full bucket, which it never is otherwise."""
    await made(limited(world, per_minute=24), 5)
    store = world.delivery_store()
    await store.claim(10, [NAME])
    await store.release(await store.claim(10, [NAME]))
    await world.move_clock(-7 * 86400)

    seconds = await store.seconds_until_due([NAME], scheduled=True)

    assert seconds is not None
    assert seconds == pytest.approx(7 * 86400, abs=90)  # until what was written then is due
    await world.execute(tables.deliveries.update().values(available_at=0.0))
    assert await store.seconds_until_due([NAME]) == pytest.approx(60 / 23, abs=1e-5)


async def test_replays_have_the_same_permits_behind_all_else(world: World) -> None:
    """What is live comes first, and both count."""
    await made(limited(world, at_once=2), 3)
    row = tables.deliveries.c
    [(old,), *_] = await world.rows(row.event_id)
    await world.execute(
        tables.deliveries.update().where(row.event_id == old).values(replay=True, available_at=0.0)
    )
    store = world.delivery_store()

    live = await store.claim(10, [NAME])

    assert old not in {each.envelope.id for each in live}
    await store.complete(live[0])
    assert [each.envelope.id for each in await store.claim(10, [NAME])] == [old]


async def test_an_ordered_handler_that_is_limited_now_is_not_followed(world: World) -> None:
    """Its lanes go on as they were stored; but claims are made by its limit."""
    world.event_handlers = {**PLAIN, ThingMade: [Ordered(announce)]}
    world.keys = {ThingMade: lambda event: "all"}
    world.policy = replace(world.policy, dispatch="worker")
    world.wire()
    await world.make_thing()
    await world.make_thing()
    world.policy = replace(world.policy, dispatch="inline")
    limited(world, at_once=1)
    store = world.bus.delivery_store
    [first] = await store.claim(10, [NAME])

    following = await store.complete(first)

    assert list(following) == []
    assert len(await store.claim(10, [NAME])) == 1


async def test_an_operator_has_numbers_of_his_own(world: World) -> None:
    """They go before those of the program, in all processes."""
    await made(limited(world, at_once=1), 5)
    store = world.delivery_store()
    await store.claim(10, [NAME])
    await world.execute(tables.limits.update().values(at_once=4))

    assert len(await store.claim(10, [NAME])) == 3


async def test_many_who_claim_at_once_keep_it(world: World) -> None:
    """They see each other's claims, since each counts only after it has the lock."""
    await made(limited(world, at_once=5, per_minute=120), 12)
    claimed: list[Claim] = []

    async def claim_once(store: SqlAlchemyDeliveryStore) -> None:
        for _ in range(3):
            claimed.extend(await store.claim(2, [NAME]))

    async with create_task_group() as group:
        for database in (world.database, world.other_database) * 4:
            limits = world.bus.delivery_store.limits
            group.start_soon(claim_once, new_delivery_store(database, world.policy, limits))

    assert len(claimed) == 5
    assert Counter(each.attempt for each in claimed) == {1: 5}


@pytest.fixture
async def shared(new_world: NewWorld) -> World:
    """A world in which two handlers share a limit, and one has none."""
    handlers = [
        Limited(announce, at_once=2, name="bell"),
        Limited(look_at, at_once=2, name="bell"),
        write_down,
    ]
    return await new_world(event_handlers={**PLAIN, ThingMade: handlers})


@pytest.mark.on("asyncio-sqlite", "trio-sqlite")
async def test_handlers_share_a_limit_by_its_name(shared: World) -> None:
    """Together they run as many; and each mix of handlers is claimed by what each has."""
    for _ in range(3):
        await shared.make_thing()
    store = shared.delivery_store()

    assert len(await store.claim(10, [NAME, "look_at"])) == 2
    assert await store.claim(10, ["look_at", NAME, "write_down"]) == []
