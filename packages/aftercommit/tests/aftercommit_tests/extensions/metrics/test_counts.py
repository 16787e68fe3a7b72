"""What is counted: every command and every attempt, once, by what became of it.

And when writes count as refused: not at the first failure, and not forever.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import anyio
import pytest
from aftercommit.errors import ConcurrentUpdate, MessageAlreadyHandled

from aftercommit_tests.builders import PLAIN, POLICY, a_claim, a_command, a_command_work
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.metrics.samples import counted
from aftercommit_tests.inside.metrics import (
    FAILING_SECONDS,
    RECENT_SECONDS,
    MetricsObserver,
    WriteHealth,
)
from aftercommit_tests.things.domain import Event, InvalidName, MakeThing, ThingMade, ThingNotFound
from aftercommit_tests.things.handlers import HANDLERS, make_thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio

Handler = Callable[[World, Event], Awaitable[None]]


@pytest.fixture
def counts() -> MetricsObserver:
    """What counts."""
    return MetricsObserver("things")


async def observed(new_world: NewWorld, counts: MetricsObserver, work: Handler) -> World:
    """Return a world in which this is done with a new thing, and is observed."""

    async def handler(event: Event) -> None:
        await work(world, event)

    handlers = {**PLAIN, ThingMade: [handler]}
    world: World = await new_world(event_handlers=handlers, observers=[counts])
    return world


async def works(world: World, event: Event) -> None:
    """Do nothing."""


async def fails(world: World, event: Event) -> None:
    raise OSError("mail server is down")


async def is_refused(world: World, event: Event) -> None:
    raise InvalidName("it has none")


async def is_late(world: World, event: Event) -> None:
    await world.move_clock(POLICY.lease_seconds + 1)
    assert await world.delivery_store().claim(1, ["handler"])


async def fails_late(world: World, event: Event) -> None:
    await is_late(world, event)
    raise OSError("too late")


@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (works, "done"),
        (fails, "retried"),
        (is_refused, "parked"),  # it needs an operator
        (is_late, "lease_lost"),  # a frozen worker that wakes up
        (fails_late, "lease_lost"),
    ],
)
async def test_an_attempt_is_counted_by_what_becomes_of_it(
    new_world: NewWorld, counts: MetricsObserver, work: Handler, outcome: str
) -> None:
    """With durations, by the names that logs and tables have, too."""
    await (await observed(new_world, counts, work)).bus.handle(a_command())

    assert counted(counts.registry, "commands_total") == {("make_thing", "done"): 1}
    assert counted(counts.registry, "command_duration_seconds_count") == {("make_thing",): 1}
    assert counted(counts.registry, "attempts_total") == {("handler", outcome): 1}
    assert counted(counts.registry, "attempt_duration_seconds_count") == {("handler",): 1}
    completed = {("handler",): 1} if outcome == "done" else {}
    assert counted(counts.registry, "commit_to_settled_seconds_count") == completed


async def test_an_attempt_that_was_cancelled_is_counted_as_handed_over(
    new_world: NewWorld, counts: MetricsObserver
) -> None:
    """A worker that stops does that, and nobody has failed."""
    begun = anyio.Event()

    async def hangs(world: World, event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    world = await observed(new_world, counts, hangs)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(world.bus.handle, a_command())
            await begun.wait()
            group.cancel_scope.cancel()

    assert counted(counts.registry, "attempts_total") == {("handler", "handed_over"): 1}


async def test_an_attempt_whose_lease_was_over_is_handed_over(
    new_world: NewWorld, counts: MetricsObserver
) -> None:
    """It was not begun: it has an outcome, but no duration."""
    too_late = anyio.current_time() - POLICY.lease_seconds
    world = await observed(new_world, counts, works)

    await world.bus.run([replace(a_claim(handler="handler"), leased_at=too_late)])

    assert counted(counts.registry, "attempts_total") == {("handler", "handed_over"): 1}
    assert counted(counts.registry, "attempt_duration_seconds_count") == {}


async def test_a_clock_that_is_behind_makes_no_negative_time(
    new_world: NewWorld, counts: MetricsObserver
) -> None:
    """The event may have been committed on a machine whose clock is ahead."""
    world = await observed(new_world, counts, works)
    (claim,) = (await world.bus.execute(a_command())).claims
    ahead = replace(claim.envelope, time=claim.envelope.time.replace(year=2999))

    await world.bus.run([replace(claim, envelope=ahead)])

    assert counted(counts.registry, "commit_to_settled_seconds_sum") == {("handler",): 0.0}


async def test_lost_races_are_counted(new_world: NewWorld, counts: MetricsObserver) -> None:
    """For the command or handler that lost them."""
    losing = [ConcurrentUpdate()] * 2

    async def make_it(command: MakeThing, uow: UnitOfWork) -> None:
        if losing:
            raise losing.pop()
        await make_thing(command, uow)

    handlers = {**HANDLERS.commands, MakeThing: make_it}
    world = await new_world(command_handlers=handlers, observers=[counts])

    await world.bus.handle(a_command())

    assert counted(counts.registry, "optimistic_retries_total") == {("make_thing",): 2}
    assert counted(counts.registry, "commands_total") == {("make_thing", "done"): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ThingNotFound("t1"), "refused"),
        (MessageAlreadyHandled("/shop", "m1"), "repeated"),
        (ConcurrentUpdate(), "failed"),
        (OSError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_every_bad_end_of_a_command_has_an_outcome(
    counts: MetricsObserver, error: BaseException, outcome: str
) -> None:
    """With those that are done, their sum is what began. None of them leaves a row."""
    with suppress(BaseException), counts.command(a_command_work(), 1.0):
        raise error

    assert counted(counts.registry, "commands_total") == {("make_thing", outcome): 1}


def test_writes_fail_if_they_have_failed_for_seconds_and_did_a_moment_ago() -> None:
    """In a row: one that is not ready gets no requests, and would never learn that all is well."""
    now = 1000.0
    health = WriteHealth(lambda: now)

    health.failed()
    assert health.failing_seconds() is None  # it may be a moment's trouble
    now += FAILING_SECONDS
    assert health.failing_seconds() is None  # nobody has tried again
    health.failed()
    assert health.failing_seconds() == FAILING_SECONDS
    now += RECENT_SECONDS
    assert health.failing_seconds() is None
    health.failed()
    health.succeeded()
    assert health.failing_seconds() is None
