"""Past events get deliveries to a handler, each at most one: on each database."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Database, InvalidValue, Unsubscribed
from aftercommit.extensions.operations.cli_parts import is_wanted

from aftercommit_tests.builders import MARIA, NAMES, PLAIN, a_failure
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.operations.conftest import complete, make_things
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.operations import (
    Replay,
    delivery_admin,
    handler_pauses,
    prune,
    replay_of,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade, ThingRenamed
from aftercommit_tests.things.handlers import look_at, write_down
from aftercommit_tests.world import START, Deliveries, World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

NEW, OLD = "count_things", "write_down"
TO_A_NEW_ONE = Replay(handler=NEW, aliases=[NEW], event_types={"thing_made": 0.0}, until=START)
AWAY = DatabaseUnavailable("away")
AGAIN = replace(TO_A_NEW_ONE, handler=OLD, aliases=[OLD], again=True)


async def run(world: World, replay: Replay) -> int:
    return await replay.run(world.database, MARIA, lambda count: None)


async def owed_to(world: World, handler: str) -> Deliveries:
    return {key: row for key, row in (await world.deliveries()).items() if key[1] == handler}


async def work(world: World) -> list[tuple[str, int]]:
    """Do all that is due, as a worker does; return handler and token of each."""
    store, done = world.delivery_store(), []
    while claims := await store.claim(10, [*NAMES, NEW]):
        for claim in claims:
            await store.complete(claim)
            done.append((claim.handler, claim.token))
    return done


async def test_what_a_handler_was_never_owed_is_owed(world: World) -> None:
    """It is new, and is to know what has happened before it; workers do it last."""
    await complete(world, *await make_things(world, 3))

    assert await TO_A_NEW_ONE.count(world.database) == 3
    assert await run(world, TO_A_NEW_ONE) == 3

    rows = await world.deliveries()
    assert {*rows} == {(event_id, NEW) for event_id in await world.event_ids()}
    for row in rows.values():
        assert (row.attempts, row.token, row.available_at, row.replay) == (0, 1, 0, True)
    claims = await world.delivery_store().claim(10, [NEW])
    assert [claim.attempt for claim in claims] == [1, 1, 1]


async def test_events_of_the_future_are_replayed_and_due_now(world: World) -> None:
    """The clock was ahead when they were committed: they are past like all others."""
    await complete(world, *await make_things(world, 2))
    await world.move_clock(-3600)
    new, again = (replace(each, until=START - 3600) for each in (TO_A_NEW_ONE, AGAIN))

    assert await new.count(world.database) == await run(world, new) == 2
    assert await run(world, again) == 2

    assert {row.available_at for row in (await owed_to(world, NEW)).values()} == {0}
    await world.move_clock(1)
    assert sorted(await work(world)) == [(NEW, 2)] * 2 + [(OLD, 3)] * 2
    assert await run(world, again) == 0


async def test_what_a_handler_was_owed_once_is_not_owed_again(world: World) -> None:
    """Whether it is done, tried, parked or discarded; and however often this is asked for."""
    await leave_one_of_each(world)
    before = await world.deliveries(), await world.finished()

    assert await run(world, replace(AGAIN, again=False)) == 0
    assert await run(world, TO_A_NEW_ONE) == 4
    assert await run(world, TO_A_NEW_ONE) == 0

    owed = {key: row for key, row in (await world.deliveries()).items() if key[1] != NEW}
    assert (owed, await world.finished()) == before


async def test_again_is_what_was_done_and_nothing_else(world: World) -> None:
    """It begins again; an operator's decision stands, and outstanding work is done anyway."""
    done = await leave_one_of_each(world)
    await complete(world, other := await world.make_thing())
    is_other = tables.events.c.id == other[OLD].envelope.id
    await world.execute(sa.update(tables.events).where(is_other).values(type="thing_vanished"))
    before = await owed_to(world, OLD)

    assert await AGAIN.count(world.database) == 1
    assert await run(world, AGAIN) == 1

    rows, key = await owed_to(world, OLD), (done.envelope.id, OLD)
    again = rows.pop(key)
    assert rows == before
    assert (again.attempts, again.token, again.available_at) == (0, done.token + 1, 0)
    assert (again.replay, again.held, again.last_error) == (True, False, None)
    assert (await world.failures())[key] == [(1, f"DatabaseUnavailable: {AWAY}")]
    [claim] = await world.delivery_store().claim(10, [OLD])
    assert (claim.attempt, claim.unavailable_attempts) == (1, 0)
    assert await run(world, AGAIN) == 0


async def leave_one_of_each(world: World) -> Claim:
    """Leave one delivery done, at the second attempt, and return it; others not done."""
    done, parked, discarded, _ = await make_things(world, 4)
    store = world.delivery_store()
    await store.record_failure(a_failure(done[OLD], AWAY, retry_in=0))
    [claim] = await store.claim(10, [OLD])
    await store.complete(claim)
    await store.record_failure(a_failure(parked[OLD]))
    await delivery_admin.discard(world.database, discarded[OLD].envelope.id, OLD, MARIA)
    return claim


async def test_only_the_events_that_are_asked_for_are_owed(world: World) -> None:
    """Of these types, and no older ones; to a handler for later, as long after the event."""
    await make_things(world, 2)
    await world.move_clock(100)
    young = await world.make_thing()
    until_now = replace(TO_A_NEW_ONE, until=START + 100)
    young_ones = replace(until_now, since=START + 1)
    later = replace(until_now, event_types={"thing_made": 60.0})

    assert await run(world, replace(until_now, event_types={"thing_renamed": 0.0})) == 0
    assert await young_ones.count(world.database) == await run(world, young_ones) == 1
    assert {*await owed_to(world, NEW)} == {(young[OLD].envelope.id, NEW)}
    await world.execute(sa.delete(tables.deliveries))
    assert await run(world, later) == 3
    due = sorted(row.available_at for row in (await world.deliveries()).values())
    assert due == [0, 0, 60]


async def test_what_is_replayed_to_a_paused_handler_waits(world: World) -> None:
    """It does not stand in the way of claims either."""
    await make_things(world, 2)
    await handler_pauses.pause(world.database, [NEW], MARIA)

    assert await run(world, TO_A_NEW_ONE) == 2
    assert await work(world) == []

    assert await handler_pauses.resume(world.database, [NEW], MARIA) == 2
    assert [handler for handler, _ in await work(world)] == [NEW, NEW]


@pytest.mark.usefixtures("small_batches")
async def test_what_is_recorded_after_its_begin_is_no_part_of_it(world: World) -> None:
    """It comes to an end, however much happens meanwhile."""
    await make_things(world, 3)
    batches: list[int] = []

    async with anyio.create_task_group() as group:

        async def make_late_one(number: int) -> None:
            await world.move_clock(1)
            await world.make_thing(f"late {number}")

        def advance(count: int) -> None:
            batches.append(count)
            group.start_soon(make_late_one, len(batches))

        assert await TO_A_NEW_ONE.run(world.database, MARIA, advance) == 3

    assert sum(batches) == len(await owed_to(world, NEW)) == 3


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("replay", [TO_A_NEW_ONE, AGAIN], ids=["new", "again"])
async def test_two_of_the_same_share_the_work(world: World, replay: Replay) -> None:
    """Each event is in one of them."""
    await complete(world, *await make_things(world, 20))
    counts = []

    async def run_on(database: Database) -> None:
        counts.append(await replay.run(database, MARIA, lambda count: None))

    async with anyio.create_task_group() as group:
        for database in (world.database, world.other_database):
            group.start_soon(run_on, database)

    rows = await owed_to(world, replay.handler)
    assert len(rows) == sum(counts) == 20
    assert {row.token for row in rows.values()} == {2 if replay.again else 1}


@pytest.mark.usefixtures("small_batches")
async def test_replaying_and_pruning_do_not_collide(world: World) -> None:
    """Each event is outstanding, or gone with all that was done about it; none is both."""
    await complete(world, *await make_things(world, 30))
    await world.move_clock(10)

    async with anyio.create_task_group() as group:
        group.start_soon(run, world, TO_A_NEW_ONE)
        for database in (world.other_database, world.database):
            group.start_soon(lambda database: prune(database, older_than=5), database)

    rows = await world.deliveries()
    assert set(rows) == {(event_id, NEW) for event_id in await world.event_ids()}


HANDLES_TWO = {**PLAIN, ThingMade: [look_at, Unsubscribed(write_down)], ThingRenamed: [look_at]}


async def test_a_handler_knows_the_names_it_had(new_world: NewWorld) -> None:
    """What was done under an old name is done; without a type, all types it handles are meant."""
    world = await new_world(event_handlers=HANDLES_TWO, renamed={"regard": "look_at"})
    await complete(world, *await make_things(world, 2))
    await world.execute(sa.update(tables.deliveries).values(handler="regard"))

    found = replay_of(world.bus, "look_at", [], until=START)
    assert sorted(found.event_types) == ["thing_made", "thing_renamed"]
    assert await run(world, found) == 0
    assert await run(world, replace(found, again=True)) == 2
    assert {*await world.deliveries()} == {*await owed_to(world, "regard")}


@pytest.mark.parametrize(
    ("handler", "complaint"),
    [
        ("regard", "'regard' is not a handler of events.*look_at"),  # it has another name now
        ("write_down", "'write_down' is unsubscribed"),
    ],
)
async def test_what_gets_no_new_events_is_named_and_gets_no_old_ones(
    new_world: NewWorld, handler: str, complaint: str
) -> None:
    """It could do nothing with them."""
    world = await new_world(event_handlers=HANDLES_TWO, renamed={"regard": "look_at"})

    with pytest.raises(InvalidValue, match=complaint):
        replay_of(world.bus, handler, [], until=0)


@pytest.mark.parametrize(
    ("count", "yes", "stdin", "is_asked"),
    [
        (2, False, SimpleNamespace(isatty=lambda: True), True),
        (2, True, SimpleNamespace(isatty=lambda: True), False),
        (0, False, SimpleNamespace(isatty=lambda: True), False),
        (2, False, SimpleNamespace(isatty=lambda: False), False),
        (2, False, None, False),  # closed by a supervisor
    ],
)
def test_a_person_is_asked_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, count: int, yes: bool, stdin: Any, is_asked: bool
) -> None:
    """It may be a million deliveries; a script has nobody to ask."""
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)

    assert is_wanted(count, yes=yes) is not is_asked


REPLAY = ("deliveries", "replay")
PAST = "SELECT handler FROM aftercommit_deliveries WHERE replay"
DUE = '2 deliveries due now; run "things worker"'


@pytest.fixture
def past(command_line: CommandLine) -> CommandLine:
    """Two things that were made before the handlers that these tests replay to were there."""
    for name in ("lamp", "chair"):
        command_line.shows("make-thing", name)
    added = "('write_down', 'announce', 'forget')"
    command_line.change(f"DELETE FROM aftercommit_deliveries WHERE handler IN {added}")
    command_line.change("DELETE FROM lines")
    return command_line


@pytest.mark.parametrize(
    ("arguments", "code", "says", "number"),
    [
        (["write_down"], 0, f"^2 deliveries of past events to write_down\n{DUE}\n$", 2),
        (["write_down", "--dry-run"], 0, "^2 deliveries of past events to write_down\n$", 0),
        (["look_at", "--again", "--allow-side-effects"], 0, DUE, 2),
        (["announce", "--allow-side-effects"], 0, DUE, 2),
        (["forget"], 0, "2 deliveries, each due 1 d after its event", 2),
        (["write_down", "--since", "0s"], 0, "0 deliveries due now", 0),
        (["nobody"], 2, "is not a handler of events that can run here; these are announce, ", 0),
        (["write_down", "--event-type", "x"], 2, "write_down does not subscribe to 'x'", 0),
        (["announce"], 1, "announce has external effects.*--allow-side-effects", 0),
        (["write_down", "--again"], 1, "write_down updates no read model", 0),
    ],
)
def test_what_is_replayed_is_what_was_asked_for_and_can_be(
    past: CommandLine, arguments: list[str], code: int, says: str, number: int
) -> None:
    """Nobody wants e-mails about what happened years ago by mistake, or anything twice."""
    result = past.run(*REPLAY, *arguments, "--yes")

    assert result.returncode == code
    assert re.search(says, result.stderr if code else result.stdout)
    assert past.rows(PAST) == [(arguments[0],)] * number
