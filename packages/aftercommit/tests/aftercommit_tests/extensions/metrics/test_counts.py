"""What is counted: every command and every attempt, once, by what became of it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import anyio
import pytest
from aftercommit.errors import ConcurrentUpdate, MessageAlreadyHandled
from aftercommit.extensions.metrics.observer import MetricsObserver

from aftercommit_tests.builders import PLAIN, POLICY, a_claim, a_command, a_command_work
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.metrics.samples import counted
from aftercommit_tests.things.domain import (
    Event,
    InvalidName,
    MakeThing,
    ThingMade,
    ThingNotFound,
)
from aftercommit_tests.things.handlers import HANDLERS, make_thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio

HandlerOfEvent = Callable[[Event], Awaitable[None]]
Observed = Callable[[HandlerOfEvent], Awaitable[World]]


@pytest.fixture
def counts() -> MetricsObserver:
    """What counts."""
    return MetricsObserver("things")


@pytest.fixture
def observed(new_world: NewWorld, counts: MetricsObserver) -> Observed:
    """What makes a world in which this is the handler of a new thing, and is observed."""

    async def observed(handler: HandlerOfEvent) -> World:
        handlers = {**PLAIN, ThingMade: [handler]}
        return await new_world(event_handlers=handlers, observers=[counts])

    return observed


async def works(event: Event) -> None:
    """Do nothing."""


def failing(error: Exception) -> HandlerOfEvent:
    async def fails(event: Event) -> None:
        raise error

    return fails


async def test_what_was_done_is_counted_with_its_durations(
    observed: Observed, counts: MetricsObserver
) -> None:
    """By the names that logs and tables have, too."""
    await (await observed(works)).bus.handle(a_command())

    assert counted(counts.registry, "commands_total") == {("make_thing", "done"): 1}
    assert counted(counts.registry, "attempts_total") == {("works", "done"): 1}
    for histogram, name in (
        ("command_duration_seconds", "make_thing"),
        ("attempt_duration_seconds", "works"),
        ("commit_to_settled_seconds", "works"),
    ):
        assert counted(counts.registry, f"{histogram}_count") == {(name,): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OSError("mail server is down"), "retried"), (InvalidName("it has none"), "parked")],
)
async def test_an_attempt_that_failed_is_counted_by_what_comes_next(
    observed: Observed, counts: MetricsObserver, error: Exception, outcome: str
) -> None:
    """What is parked needs a person, what is retried does not."""
    await (await observed(failing(error))).bus.handle(a_command())

    assert counted(counts.registry, "attempts_total") == {("fails", outcome): 1}
    assert counted(counts.registry, "commit_to_settled_seconds_count") == {}


async def test_an_attempt_that_was_cancelled_is_counted_as_handed_over(
    observed: Observed, counts: MetricsObserver
) -> None:
    """A worker that stops does that, and nobody has failed."""
    begun = anyio.Event()

    async def hangs(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    world = await observed(hangs)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(world.bus.handle, a_command())
            await begun.wait()
            group.cancel_scope.cancel()

    assert counted(counts.registry, "attempts_total") == {("hangs", "handed_over"): 1}


async def test_an_attempt_whose_lease_was_over_is_handed_over(
    observed: Observed, counts: MetricsObserver
) -> None:
    """It was not begun: it has an outcome, but no duration."""
    too_late = anyio.current_time() - POLICY.lease_seconds

    await (await observed(works)).bus.run([replace(a_claim(handler="works"), leased_at=too_late)])

    assert counted(counts.registry, "attempts_total") == {("works", "handed_over"): 1}
    assert counted(counts.registry, "attempt_duration_seconds_count") == {}


@pytest.mark.parametrize("error", [OSError("too late"), None])
async def test_an_attempt_that_ends_after_a_takeover_has_lost_its_lease(
    observed: Observed, counts: MetricsObserver, error: Exception | None
) -> None:
    """A frozen worker that wakes up is neither done nor retried, and somebody has to see it."""

    async def late(event: Event) -> None:
        await world.move_clock(POLICY.lease_seconds + 1)
        assert await world.outbox().claim(1, ["late"])
        if error:
            raise error

    world = await observed(late)
    await world.bus.handle(a_command())

    assert counted(counts.registry, "attempts_total") == {("late", "lease_lost"): 1}


async def test_a_clock_that_is_behind_makes_no_negative_time(
    observed: Observed, counts: MetricsObserver
) -> None:
    """The event may have been committed on a machine whose clock is ahead."""
    world = await observed(works)
    (claim,) = (await world.bus.execute(a_command())).claims
    ahead = replace(claim.envelope, time=claim.envelope.time.replace(year=2999))

    await world.bus.run([replace(claim, envelope=ahead)])

    assert counted(counts.registry, "commit_to_settled_seconds_sum") == {("works",): 0.0}


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
