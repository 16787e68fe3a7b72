"""What a limit holds is seen, and is not late; an operator changes its numbers."""

from collections.abc import Mapping

import pytest
from aftercommit import Application, Limited, Refused, new_delivery_store, testing
from anyio import Event

from aftercommit_tests.builders import MARIA, PLAIN
from aftercommit_tests.extensions.operations.conftest import listed
from aftercommit_tests.inside.metrics import Probes
from aftercommit_tests.inside.operations import (
    latest_decisions,
    limit_admin,
    listed_deliveries,
    queue_metrics,
    worker_services,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

NAME, LIMIT = "announce", "bell"


@pytest.fixture
async def ringing(world: World) -> World:
    """A world in which one may ring at a time, and four wait for it."""
    one: Limited[ThingMade, object] = Limited(announce, at_once=1, per_minute=24, name=LIMIT)
    world.event_handlers = {**PLAIN, ThingMade: [one]}
    world.wire()
    for _ in range(5):
        await world.make_thing()
    assert len(await world.delivery_store().claim(10, [NAME])) == 1
    return world


async def the_limit(world: World) -> limit_admin.HandlerLimit:
    of = world.bus.delivery_store.limits
    async with world.database.read_transaction() as transaction:
        [found] = await limit_admin.handler_limits(transaction, world.database, of)
    return found


async def told(world: World) -> Mapping[str, float]:
    """Return what metrics say, by name; of several handlers, the most."""
    of, handlers = world.bus.delivery_store.limits, world.application.handlers
    families = await queue_metrics(world.database, handlers, of)
    found = [
        (each.name.removeprefix("things_"), each.value) for f in families for each in f.samples
    ]
    return dict(sorted(found))


async def test_what_is_held_is_due_and_says_by_what(ringing: World) -> None:
    """And how much is used: an operator sees at once that nothing is wrong."""
    of = ringing.bus.delivery_store.limits
    async with ringing.database.read_transaction() as transaction:
        held = await limit_admin.held_by(transaction, ringing.database, of)
        rows = listed_deliveries(transaction, ringing.database, held=held)
        found = sorted([(row.state, row.held_by) async for row in rows], key=str)

    said = "bell: 1 of 1 running; 1 may begin now, of 24 a minute"
    assert found == [("due", said)] * 4 + [("running", None)]
    assert (await listed(ringing))[NAME].held_by is None  # nobody has asked


async def test_a_limit_is_listed_with_its_use(ringing: World) -> None:
    """With what it holds, and when the next one may begin at the latest."""
    found = await the_limit(ringing)

    assert (found.name, found.handlers, found.at_once, found.per_minute) == (LIMIT, [NAME], 1, 24)
    assert (found.running, found.may_begin, found.held) == (1, 0, 4)
    assert found.held_seconds == 10  # at 24 a minute
    assert (found.set_at_once, found.set_per_minute) == (None, None)
    assert found.next_at is not None


async def test_an_operator_changes_the_numbers(ringing: World) -> None:
    """Without a release, and back; each is a decision."""
    of, database = ringing.bus.delivery_store.limits, ringing.database
    store = ringing.delivery_store()

    await limit_admin.set_limit(database, of, LIMIT, MARIA, {"at_once": 3, "per_minute": 600})
    more = await store.claim(10, [NAME])
    changed = await the_limit(ringing)
    await limit_admin.set_limit(database, of, LIMIT, MARIA, {"at_once": None, "per_minute": None})

    assert len(more) == 2
    assert (changed.set_at_once, changed.set_per_minute, changed.at_once) == (3, 600, 1)
    assert (await the_limit(ringing)).set_at_once is None
    assert await store.claim(10, [NAME]) == []
    decided = [
        (each.decision, each.handler, each.reason)
        for each in await latest_decisions(database, limit=5)
    ]
    assert sorted(decided, key=str) == [
        ("limit", None, "bell: 1 at once, 24 a minute"),
        ("limit", None, "bell: 3 at once, 600 a minute"),
    ]
    with pytest.raises(Refused, match="'siren' is not a limit.*; there is bell"):
        await limit_admin.set_limit(database, of, "siren", MARIA, {"at_once": 1})


async def test_a_handler_that_has_lost_its_limit_takes_no_place_of_it(ringing: World) -> None:
    """Others that share the limit could not begin for as long as it runs."""
    await ringing.end_leases()

    without = new_delivery_store(ringing.database, ringing.policy)

    assert len(await without.claim(10, [NAME])) == 5
    assert "0 of 1 running" in str((await the_limit(ringing)).use)


async def test_what_is_held_is_neither_late_nor_unclaimable(ringing: World) -> None:
    """However long it waits, nobody has to start a worker. It has numbers of its own."""
    lease = ringing.policy.lease_seconds
    await ringing.execute(
        tables.deliveries.update()
        .where(tables.deliveries.c.owner.is_not(None))
        .values(available_at=tables.deliveries.c.available_at + 7200)
    )
    await ringing.move_clock(7200)  # its handler takes so long, say

    held = await told(ringing)
    await ringing.move_clock(lease + 10)  # now another one may begin, and no worker runs
    late = await told(ringing)

    assert held["oldest_due_seconds"] == held["oldest_unclaimable_seconds"] == 0
    assert held["held_deliveries"] == 4
    assert held["oldest_held_seconds"] == pytest.approx(7200, abs=20)
    assert late["oldest_due_seconds"] == pytest.approx(7210 + lease, abs=20)


async def test_a_process_that_keeps_to_a_limit_is_ready(ringing: World) -> None:
    """A proxy would take it out of use, and nothing would be better."""
    probes = Probes(ringing.application, Event(), 60.0)
    await ringing.move_clock(25)

    await probes.look()

    assert probes.readiness_error() is None


async def test_what_nobody_can_do_is_seen_behind_what_is_held(ringing: World) -> None:
    """The oldest of all is looked at: what is held would stand before it forever."""
    await ringing.execute(
        tables.deliveries.update()
        .where(tables.deliveries.c.owner.is_(None))
        .values(available_at=tables.deliveries.c.available_at - 9000)
    )
    [(event,), *_] = await ringing.rows(tables.events.c.id)
    strange = {
        "event_id": event,
        "handler": "nobody",
        "attempts": 0,
        "token": 1,
        "schema_version": 1,
    }
    await ringing.execute(
        tables.deliveries.insert().values(available_at=ringing.database.clock - 500, **strange)
    )

    assert (await told(ringing))["oldest_unclaimable_seconds"] == pytest.approx(500, abs=1)
    found = await worker_services.unclaimable_deliveries(
        ringing.database, ringing.application.handlers, overdue=60
    )
    assert [row.handler for row in found] == ["nobody"]


async def test_a_test_lets_a_limit_pass(ringing: World) -> None:
    """`let_time_pass` moves the rate as it moves all that is stored."""
    application: Application = ringing.application
    await testing.let_time_pass(application, minutes=1)

    report = await testing.deliver_due(application)
    once = ringing.bell.rung.copy()
    await testing.let_time_pass(application, minutes=1)
    await testing.deliver_due(application)

    assert report.failures == []
    assert len(once) == 2  # the burst
    assert len(ringing.bell.rung) == 4
