"""Ordered handlers: one by one for each key, in the order of the commits, whatever happens."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random
from traceback import walk_stack

import anyio
import pytest
from aftercommit import Envelope, IdempotencyKey, Ordered
from aftercommit.errors import DeliverySuperseded

from aftercommit_tests.asked import counting
from aftercommit_tests.builders import PLAIN, POLICY, a_command, a_failure, a_thing
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import RenameThing, ThingId, ThingMade, ThingRenamed
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


async def note(event: ThingMade | ThingRenamed, uow: UnitOfWork) -> None:
    """Take effect in the database."""
    uow.write(event.name)


async def ring(event: ThingMade | ThingRenamed, bell: Bell) -> None:
    """Have an effect outside."""
    await bell.ring(event.name, idempotency_key=IdempotencyKey(""))


async def rename_often(command: RenameThing, uow: UnitOfWork) -> None:
    """Have many events with one commit."""
    thing = await uow.things.get(command.thing_id)
    for number in range(int(command.name)):
        thing.rename(f"{command.name} {number:03}")


NOTE, RING = Ordered(note), Ordered(ring)
HANDLERS = {**PLAIN, ThingMade: [NOTE, RING], ThingRenamed: [NOTE, RING]}
NAMES = ["note", "ring"]
PRODUCERS, PER_PRODUCER = 4, 8


@pytest.fixture
async def world(world: World) -> World:
    """A world in which workers take all that happens to things in order."""
    world.event_handlers = HANDLERS
    world.policy = replace(POLICY, dispatch="worker", max_attempts=3)
    world.wire()
    return world


async def make(world: World, *names: str) -> ThingId:
    """Make a thing and rename it, with a commit each."""
    made = a_command(names[0])
    await world.bus.execute(made)
    for name in names[1:]:
        await world.bus.execute(RenameThing(thing_id=made.thing_id, name=name))
    return made.thing_id


def name_in(claim: Claim) -> str:
    return str(getattr(claim.message, "name"))  # noqa: B009


async def claimed(world: World, handler: str = "note") -> list[tuple[str, Claim]]:
    claims = await world.delivery_store().claim(10, [handler])
    return sorted((name_in(claim), claim) for claim in claims)


async def work(world: World, *, rounds: int = 1000, names: Sequence[str] = NAMES) -> Sequence[str]:
    """Do all that can be done, as a worker does; return what has taken effect, in order."""
    told = []
    for _ in range(rounds):
        if not (claims := await world.delivery_store().claim(10, names)):
            break
        for claim in claims:
            told += [f"{claim.handler} {name_in(claim)}"]
            await world.bus.run([claim])
    return told


async def test_each_key_and_each_handler_goes_on_one_by_one(world: World) -> None:
    """Beside each other, but never two of the same."""
    await make(world, "a1", "a2", "a3")
    await make(world, "b1", "b2")

    for expected in (["a1", "b1"], ["a2", "b2"], ["a3"], []):
        found = await claimed(world)
        assert [name for name, _ in found] == expected
        for _, claim in found:
            await world.bus.run([claim])
    assert await world.lines() == ["a1", "a2", "a3", "b1", "b2"]
    assert [name for name, _ in await claimed(world, "ring")] == ["a1", "b1"]


@pytest.mark.parametrize("handler", NAMES)
async def test_what_is_retried_or_parked_holds_up_its_lane_and_nothing_else(
    world: World, handler: str
) -> None:
    """Also what is not finished when its lease ends, and what is given back or paused."""
    await make(world, "a1", "a2")
    await make(world, "b1", "b2")
    other = {"note": "ring", "ring": "note"}[handler]
    [(_, a1), (_, b1)] = await claimed(world, handler)

    await world.delivery_store().record_failure(a_failure(a1, retry_in=5.0))
    await world.bus.run([b1])
    assert [name for name, _ in await claimed(world, handler)] == ["b2"]
    await world.move_clock(5)
    [(_, a1)] = await claimed(world, handler)
    await world.delivery_store().release([a1])
    [(_, a1)] = await claimed(world, handler)
    await world.end_leases()
    [(_, late), _] = await claimed(world, handler)
    with pytest.raises(DeliverySuperseded):
        await world.delivery_store().record_failure(a_failure(a1))
    await world.delivery_store().record_failure(a_failure(late, ValueError()))

    await world.end_leases()
    assert [name for name, _ in await claimed(world, handler)] == ["b2"]
    assert [name for name, _ in await claimed(world, other)] == ["a1", "b1"]


async def test_a_late_owner_changes_nothing_in_its_lane(world: World) -> None:
    """It was frozen past its lease: another process has done the work, and the next one runs."""
    await make(world, "a1", "a2", "a3")
    for handler in NAMES:
        [(_, frozen)] = await claimed(world, handler)
        await world.end_leases()
        [(_, first)] = await claimed(world, handler)
        await world.bus.run([first])
        [(name, _)] = await claimed(world, handler)
        await world.bus.run([frozen])

        assert name == "a2"
        assert await claimed(world, handler) == []
    assert await world.lines() == ["a1"]


async def test_what_was_done_although_its_answer_was_lost_is_done_again_in_peace(
    world: World,
) -> None:
    """A last write is made twice if its first answer was cancelled."""
    await make(world, "a1", "a2", "a3")
    [(_, first)] = await claimed(world, "ring")

    await world.delivery_store().complete(first)
    [(_, second)] = await claimed(world, "ring")
    await world.delivery_store().complete(first)

    assert await claimed(world, "ring") == []
    await world.delivery_store().complete(second)
    assert [name for name, _ in await claimed(world, "ring")] == ["a3"]


async def test_what_one_commit_records_in_several_aggregates_keeps_its_order(world: World) -> None:
    """If it was numbered when it was recorded: a key may go across aggregates."""
    world.keys = {ThingMade: type, ThingRenamed: lambda event: ThingMade}
    world.wire()

    async with world.a_uow() as uow:
        things = [a_thing("a1"), a_thing("b1")]
        for thing in things:
            uow.things.add(thing)
        for number, thing in enumerate([*things, *things], start=2):
            thing.rename(f"{thing.name[0]}{number}")

    done = [name[5:] for name in await work(world, names=["note"])]
    assert done == ["a1", "b1", "a2", "b3", "a4", "b5"]


async def test_a_rename_that_is_rolled_back_keeps_the_order(world: World) -> None:
    """What the new release has stored goes first, if the old one knows its name."""

    async def take_note(event: ThingMade | ThingRenamed, uow: UnitOfWork) -> None:
        raise AssertionError("the new release is gone")

    renamed = Ordered(take_note, lane="note")
    world.event_handlers = {**PLAIN, ThingMade: [renamed], ThingRenamed: [renamed]}
    world.wire()
    made = await make(world, "a1", "a2")
    old = Ordered(note, lane="note")
    world.event_handlers = {**PLAIN, ThingMade: [old], ThingRenamed: [old]}
    world.renamed = {"take_note": "note"}
    world.wire()
    await world.bus.execute(RenameThing(thing_id=made, name="a3"))

    done = await work(world, names=["note", "take_note"])

    assert done == ["take_note a1", "take_note a2", "note a3"]
    assert await world.lines() == ["a1", "a2", "a3"]


async def test_a_large_commit_is_stored_and_claimed_whole(world: World) -> None:
    """There is a limit for what makes one statement; the first of each lane are many here."""
    world.policy = POLICY
    world.wire()

    async with (unit := world.a_uow()) as uow:
        for number in range(100):
            uow.things.add(a_thing(f"thing {number}"))
            uow.things.add(a_thing(f"other {number}"))

    assert len(unit.committed.claims) == len(NAMES) * 200
    assert {claim.envelope.position is None for claim in unit.committed.claims} == {False}


async def test_an_order_takes_so_many_statements_more(world: World) -> None:
    """Only of those who ask for it: what it costs others is in `test_statement_counts.py`."""
    lock = world.database.backend.lock_lanes is not None
    made = await make(world, "a1", "a2")
    claims = [claim for handler in NAMES for _, claim in await claimed(world, handler)]

    renames = partial(world.bus.execute, RenameThing(thing_id=made, name="a3"))
    found = []

    for step in (renames, *(partial(world.bus.run, [claim]) for claim in claims)):
        with counting(world.database) as asked:
            await step()  # type: ignore[operator]
        found.append(len(asked))

    # as many; a line, what is done, and what comes next; what is done, and what comes next
    assert found == [5 + lock, 3 + lock, 2 + lock]


async def test_of_one_commit_one_begins_after_the_other(world: World) -> None:
    """Though nothing was in their lane before, for which they would have had to wait."""
    world.command_handlers = {**world.command_handlers, RenameThing: rename_often}
    world.wire()
    thing = await make(world, "first")
    await work(world)

    await world.bus.execute(RenameThing(thing_id=thing, name="3"))

    for expected in ("3 000", "3 001", "3 002"):
        [(name, claim)] = await claimed(world)
        assert name == expected
        await world.bus.run([claim])


async def test_without_a_worker_all_of_one_commit_is_done_in_order(world: World) -> None:
    """A row is neither recursion nor nesting, however long it is; other trees are for workers."""
    count = 60
    world.policy = POLICY
    world.command_handlers = {**world.command_handlers, RenameThing: rename_often}
    world.wire()
    names = [f"{count} {number:03}" for number in range(count)]
    made = a_command("first")
    await world.bus.handle(made)
    other = await world.bus.execute(RenameThing(thing_id=made.thing_id, name="1"))

    depth, limit = len([*walk_stack(None)]), sys.getrecursionlimit()
    committed = await world.bus.execute(RenameThing(thing_id=made.thing_id, name=str(count)))
    assert (len(other.claims), committed.claims) == (2, ())
    for claim in other.claims:
        await world.bus.run([claim])
    assert await world.delivery_store().claim(1, ["note"]) != []
    await world.end_leases()
    sys.setrecursionlimit(depth + 200)
    try:
        assert (await world.bus.run(await world.delivery_store().claim(10, NAMES))).failures == []
    finally:
        sys.setrecursionlimit(limit)

    assert [text for text, _ in world.bell.rung] == ["first", "1 000", *names]
    assert len(await world.lines()) == 2 + count
    assert await world.deliveries() == {}


class Fallible:
    """A handler of which every tenth attempt fails; it remembers where each has begun."""

    def __init__(self) -> None:
        self._chance, self.begun = Random(40), defaultdict[str, list[int]](list)

    async def __call__(self, event: ThingMade, envelope: Envelope, uow: UnitOfWork) -> None:
        """Take effect, or fail."""
        self.begun[event.name[0]].append(envelope.position or 0)
        if self._chance.random() < 0.1:
            raise OSError("down")
        uow.write(event.name)


async def test_many_ordered_events_of_one_commit_cost_what_each_of_them_costs(
    world: World,
) -> None:
    """SQLite plans the queries in one INSERT with all others in it: 1,000 rows took a third of 1 s.

    So an INSERT has few rows, however many there are.
    """
    world.command_handlers = {**world.command_handlers, RenameThing: rename_often}
    world.wire()
    made = a_command("first")
    await world.bus.handle(made)

    with counting(world.database) as asked:
        await world.bus.execute(RenameThing(thing_id=made.thing_id, name="300"))

    rows = [sql.count("max(") for sql in asked if "INTO aftercommit_deliveries" in sql]
    assert sum(rows) == 600
    assert max(rows) <= 100
    assert await world.deliveries() != {}


async def test_of_many_that_race_none_is_stuck_and_none_comes_too_early(world: World) -> None:
    """Producers that commit to the same lanes at once, workers, and attempts that fail."""
    fallible, count = Fallible(), PRODUCERS * PER_PRODUCER

    async def write_down(event: ThingMade, envelope: Envelope, uow: UnitOfWork) -> None:
        await fallible(event, envelope, uow)

    world.keys = {ThingMade: lambda event: event.name[0]}  # of several things: no version decides
    world.policy = replace(world.policy, retry_initial_seconds=0.0, max_attempts=1000)
    world.event_handlers = {**PLAIN, ThingMade: [Ordered(write_down), RING]}
    world.wire()

    async def produce(number: int) -> None:
        for n in range(PER_PRODUCER):
            await world.bus.execute(a_command(f"{'abc'[n % 3]} {number} {n}"))

    async def consume() -> None:
        while len(await world.lines()) < count:
            await work(world, rounds=1, names=["write_down", "ring"])

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(PRODUCERS):
                group.start_soon(produce, number)
                group.start_soon(consume)
    await work(world)

    assert len(await world.lines()) == len(world.bell.rung) == count
    assert await world.deliveries() == {}
    for places in fallible.begun.values():
        assert places == sorted(places)
    assert sum(map(len, fallible.begun.values())) > count
