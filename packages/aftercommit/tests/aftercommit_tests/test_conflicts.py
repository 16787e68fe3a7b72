"""Conflicts: who loses to others begins again, and who has lost its delivery says no word."""

import pytest
from aftercommit.bus import MAX_CONFLICT_RETRIES
from aftercommit.errors import ConcurrentUpdate

from aftercommit_tests.builders import POLICY, CommandHandlers, a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.domain import Event, MakeThing
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio


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
    """A conflict that does not go away is the caller's to see."""
    units: list[UnitOfWork] = []
    world = await new_world(command_handlers=losing(MAX_CONFLICT_RETRIES, units))

    with pytest.raises(ConcurrentUpdate):
        await world.bus.handle(a_command())

    assert len(units) == MAX_CONFLICT_RETRIES


async def test_a_delivery_that_was_taken_over_is_left_alone(world: World) -> None:
    """Two owners must not both do the work: the late one's is rolled back, and is no failure."""
    late = (await world.make_thing())["write_down"]
    await world.end_leases()
    [taken_over] = await world.outbox().claim(1, ["write_down"])

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
        await world.outbox().claim(1, ["late"])
        raise OSError("too late")

    world = await new_world(event_handlers=on_made(late))
    report = await world.bus.handle(a_command())

    assert report.failures == []
    assert [row.last_error for row in (await world.deliveries()).values()] == [None]
    assert "next attempt" not in caplog.text
