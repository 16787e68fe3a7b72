"""What is counted: every command and every attempt, once, by what became of it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anyio
import pytest
from aftercommit.claims import Claim
from aftercommit.errors import (
    ConcurrentUpdate,
    DeliverySuperseded,
    InvalidValue,
    MessageAlreadyHandled,
)
from aftercommit.extensions.metrics.observer import MetricsObserver
from aftercommit.handler_table import Handler

from allocation.domain.events import Event
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import COMMANDS, POLICY, FakeApplication, a_command_envelope, a_delivery
from tests.fakes import FakeOutbox
from tests.things import MakeThing, ThingMade, ThingNotFound, a_command, a_thing_id

pytestmark = pytest.mark.anyio


def counted(counts: MetricsObserver, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a metric, by the values of their labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in counts.registry.collect()
        for sample in family.samples
        if sample.name == f"allocation_{name}"
    }


def observed(counts: MetricsObserver, *handlers: Handler[Any, Any]) -> FakeApplication:
    return FakeApplication(event_handlers={ThingMade: handlers}, observers=[counts])


async def works(event: Event) -> None:
    """Do nothing."""


def failing(error: Exception) -> Callable[[Event], Awaitable[None]]:
    async def fails(event: Event) -> None:
        raise error

    return fails


async def test_what_was_done_is_counted_with_its_durations() -> None:
    """By the names that logs and tables have, too."""
    counts = MetricsObserver("allocation")

    await observed(counts, works).bus.handle(a_command())

    assert counted(counts, "commands_total") == {("make_thing", "done"): 1}
    assert counted(counts, "attempts_total") == {("works", "done"): 1}
    for histogram, name in (
        ("command_duration_seconds", "make_thing"),
        ("attempt_duration_seconds", "works"),
        ("commit_to_settled_seconds", "works"),
    ):
        assert counted(counts, f"{histogram}_count") == {(name,): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OSError("mail server is down"), "retried"), (InvalidValue("name", "is empty"), "parked")],
)
async def test_an_attempt_that_failed_is_counted_by_what_comes_next(
    error: Exception, outcome: str
) -> None:
    """What is parked needs a person, what is retried does not."""
    counts = MetricsObserver("allocation")

    await observed(counts, failing(error)).bus.handle(a_command())

    assert counted(counts, "attempts_total") == {("fails", outcome): 1}
    assert counted(counts, "commit_to_settled_seconds_count") == {}


async def test_an_attempt_that_was_cancelled_is_counted_as_handed_over() -> None:
    """A worker that stops does that, and nobody has failed."""
    counts, begun = MetricsObserver("allocation"), anyio.Event()

    async def hangs(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(observed(counts, hangs).bus.handle, a_command())
        await begun.wait()
        group.cancel_scope.cancel()

    assert counted(counts, "attempts_total") == {("hangs", "handed_over"): 1}


async def test_lost_races_are_counted() -> None:
    """For the command or handler that lost them."""
    counts = MetricsObserver("allocation")
    tries: list[UnitOfWork] = []

    async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
        tries.append(uow)
        if len(tries) < 3:
            raise ConcurrentUpdate

    handlers = {**COMMANDS, MakeThing: make_thing}
    application = FakeApplication(command_handlers=handlers, observers=[counts])

    await application.bus.handle(a_command())

    assert counted(counts, "optimistic_retries_total") == {("make_thing",): 2}
    assert counted(counts, "commands_total") == {("make_thing", "done"): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ThingNotFound(a_thing_id()), "refused"),
        (MessageAlreadyHandled("/shop", "m1"), "repeated"),
        (ConcurrentUpdate(), "failed"),
        (OSError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_every_bad_end_of_a_command_has_an_outcome(error: BaseException, outcome: str) -> None:
    """With those that are done, their sum is what began. None of them leaves a row."""
    counts, envelope = MetricsObserver("allocation"), a_command_envelope()

    with suppress(BaseException), counts.command(envelope, 1.0):
        raise error

    assert counted(counts, "commands_total") == {("make_thing", outcome): 1}


async def test_an_attempt_that_fails_after_a_takeover_has_lost_its_lease() -> None:
    """A frozen worker that wakes up is neither done nor retried, and somebody has to see it."""

    async def late(event: Event) -> None:
        application.database.clock += POLICY.lease_seconds + 1
        await application.outbox.claim(1, ["late"])
        raise OSError("too late")

    counts = MetricsObserver("allocation")
    application = observed(counts, late)

    await application.bus.handle(a_command())

    assert counted(counts, "attempts_total") == {("late", "lease_lost"): 1}


async def test_an_attempt_that_somebody_else_was_faster_with_has_lost_its_lease() -> None:
    """Also if that is found out only when it is to be settled."""

    class Outpaced(FakeOutbox):
        async def settle(self, delivery: Claim) -> None:
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)

    counts = MetricsObserver("allocation")
    application = observed(counts, works)
    application.bus = replace(
        application.bus, outbox=Outpaced(application.database, application.policy)
    )

    await application.bus.handle(a_command())

    assert counted(counts, "attempts_total") == {("works", "lease_lost"): 1}


async def test_an_attempt_whose_lease_was_over_is_handed_over() -> None:
    """It was not begun: it has an outcome, but no duration."""
    counts = MetricsObserver("allocation")
    late = replace(
        a_delivery(handler="works"), leased_at=anyio.current_time() - POLICY.lease_seconds
    )

    await observed(counts, works).bus.run([late])

    assert counted(counts, "attempts_total") == {("works", "handed_over"): 1}
    assert counted(counts, "attempt_duration_seconds_count") == {}


async def test_a_clock_that_is_behind_makes_no_negative_time() -> None:
    """The event may have been committed on a machine whose clock is ahead."""
    counts = MetricsObserver("allocation")
    application = observed(counts, works)
    ahead = application.bus.envelopes.now().replace(year=2999)
    (claim,) = (await application.bus.execute(a_command())).claims
    late = replace(claim, envelope=replace(claim.envelope, time=ahead))

    await application.bus.run([late])

    assert counted(counts, "commit_to_settled_seconds_sum") == {("works",): 0.0}
