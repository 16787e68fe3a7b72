"""Conflicts: who loses to others begins again, and who has lost its delivery says no word."""

import random
from math import inf

import anyio
import pytest
from aftercommit import Observer, Outcome
from aftercommit.errors import ConcurrentUpdate

from aftercommit_tests.builders import POLICY, CommandHandlers, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import CONFLICT_DELAY
from aftercommit_tests.inside.stored import events
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made
from aftercommit_tests.test_time_limits import PATIENT
from aftercommit_tests.things.domain import Event, MakeThing, RenameThing
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

MANY = 12  # at once: more than would succeed in five tries without a pause


class Conflicts(Observer):
    """Notes that somebody has lost to others, and pauses now."""

    def __init__(self) -> None:
        self.first, self.second = anyio.Event(), anyio.Event()

    def finished(self, outcome: Outcome) -> None:
        if outcome.status == "conflict":
            (self.second if self.first.is_set() else self.first).set()


def losing(times: int, units: list[UnitOfWork]) -> CommandHandlers:
    """Return handlers of which one loses to others so many times, and notes its units of work."""

    async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) <= times:
            raise ConcurrentUpdate

    return {**HANDLERS.commands, MakeThing: make_thing}


async def test_a_lost_optimistic_race_is_run_again_in_a_fresh_unit_of_work(
    new_world: NewWorld,
) -> None:
    """The caller should not see a conflict that trying again resolves."""
    units: list[UnitOfWork] = []
    world = await new_world(command_handlers=losing(2, units))

    await world.bus.handle(a_command())

    assert len({id(unit) for unit in units}) == 3


async def test_races_are_not_run_for_ever(new_world: NewWorld) -> None:
    """A conflict that does not go away is the caller's to see, when no time is left for a pause."""
    units: list[UnitOfWork] = []
    world = await new_world(command_handlers=losing(1, units), random=lambda: inf)

    with pytest.raises(ConcurrentUpdate):
        await world.bus.handle(a_command())

    assert len(units) == 1


async def test_who_pauses_after_a_conflict_is_in_nobodys_way(new_world: NewWorld) -> None:
    """Others could not finish what it has met with, if it kept the right to write."""
    units: list[UnitOfWork] = []
    conflicts = Conflicts()
    world = await new_world(
        command_handlers=losing(1, units),
        policy=PATIENT,
        observers=[conflicts],
        random=lambda: 2 * LIMIT_SECONDS / CONFLICT_DELAY,
    )

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(world.bus.execute, a_command())
            await conflicts.first.wait()  # now it pauses for longer than this test may take
            await world.bus.execute(a_command())
            group.cancel_scope.cancel()

    assert len(units) == 2


async def test_all_who_change_one_aggregate_at_once_succeed(world: World) -> None:
    """One of them is done in each round: who has lost often is not refused for that."""
    world.random, world.policy = random.random, PATIENT
    world.wire()
    lamp = a_command()
    await world.bus.execute(lamp)
    names = [f"name {number}" for number in range(MANY)]

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for name in names:
                rename = RenameThing(thing_id=lamp.thing_id, name=name)
                group.start_soon(world.bus.execute, rename)

    renamed = [row.subject for row in await world.rows(events.c.subject, events.c.type)]
    assert len(renamed) == 1 + MANY


async def test_a_delivery_that_was_taken_over_is_left_alone(world: World) -> None:
    """Two owners must not both do the work: the late one's is rolled back, and is no failure."""
    late = (await world.make_thing())["write_down"]
    await world.end_leases()
    [taken_over] = await world.delivery_store().claim(1, ["write_down"])

    report = await world.bus.run([late])

    assert (taken_over.attempt, report.failures) == (2, [])
    assert await world.lines() == []
    assert "write_down" in await world.owed()


async def test_who_fails_after_somebody_has_taken_over_says_no_word(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes of the delivery is the new owner's to say: it is not tried again for this one."""

    async def late(event: Event) -> None:
        await world.move_clock(POLICY.lease_seconds + 1)
        await world.delivery_store().claim(1, ["late"])
        raise OSError("too late")

    world = await new_world(event_handlers=on_made(late))
    report = await world.bus.handle(a_command())

    assert report.failures == []
    assert [row.last_error for row in (await world.deliveries()).values()] == [None]
    assert "next attempt" not in caplog.text
