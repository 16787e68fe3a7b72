"""What is counted: every command and every attempt, once, by what became of it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from allocation.domain.commands import AddCouponBatch, ChangeEmail
from allocation.domain.events import Event, UserRegistered
from allocation.domain.exceptions import InvalidValue, UserNotFound
from allocation.entrypoints.metrics.histogram import Histogram
from allocation.entrypoints.metrics.observer import Counts, counting
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.exceptions import (
    ConcurrentUpdate,
    DeliverySuperseded,
    MessageAlreadyHandled,
)
from allocation.service_layer.facts import Begun, Ended
from allocation.service_layer.handlers import COMMAND_HANDLERS
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.wiring import Handler
from tests.builders import (
    POLICY,
    FakeApplication,
    a_batch,
    a_command_envelope,
    a_delivery,
    a_registration,
    a_user_id,
)
from tests.fakes import FakeOutbox

pytestmark = pytest.mark.anyio


def observed(counts: Counts, *handlers: Handler) -> FakeApplication:
    return FakeApplication(event_handlers={UserRegistered: handlers}, observers=[counts])


async def works(event: Event) -> None:
    """Do nothing."""


def failing(error: Exception) -> Callable[[Event], Awaitable[None]]:
    async def fails(event: Event) -> None:
        raise error

    return fails


async def test_what_was_done_is_counted_with_its_durations() -> None:
    """By the names that logs and tables have, too."""
    with counting() as counts:
        await observed(counts, works).bus.handle(a_registration())

    assert counts.commands == {("register_user", "done"): 1}
    assert counts.attempts == {("works", "done"): 1}
    for histograms, name in (
        (counts.command_seconds, "register_user"),
        (counts.attempt_seconds, "works"),
        (counts.settled_seconds, "works"),
    ):
        assert list(histograms) == [name]
        assert [*histograms[name].buckets()][-1] == ("+Inf", 1)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(OSError("mail server is down"), "retried"), (InvalidValue("name", "is empty"), "parked")],
)
async def test_an_attempt_that_failed_is_counted_by_what_comes_next(
    error: Exception, outcome: str
) -> None:
    """What is parked needs a person, what is retried does not."""
    counts = Counts()

    await observed(counts, failing(error)).bus.handle(a_registration())

    assert counts.attempts == {("fails", outcome): 1}
    assert counts.settled_seconds == {}


async def test_a_refused_command_is_counted() -> None:
    """It leaves no row."""
    counts = Counts()

    with pytest.raises(UserNotFound):
        await observed(counts).bus.handle(ChangeEmail(user_id=a_user_id(), new_email="a@b.example"))

    assert counts.commands == {("change_email", "refused"): 1}


async def test_an_attempt_that_was_cancelled_is_counted_as_given_back() -> None:
    """A worker that stops does that, and nobody has failed."""
    counts, begun = Counts(), anyio.Event()

    async def hangs(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(observed(counts, hangs).bus.handle, a_registration())
        await begun.wait()
        group.cancel_scope.cancel()

    assert counts.attempts == {("hangs", "given_back"): 1}


async def test_lost_races_are_counted() -> None:
    """For the command or handler that lost them."""
    counts = Counts()
    tries: list[UnitOfWork] = []

    async def add_coupon_batch(command: AddCouponBatch, uow: UnitOfWork) -> None:
        tries.append(uow)
        if len(tries) < 3:
            raise ConcurrentUpdate
        await uow.commit()

    handlers = {**COMMAND_HANDLERS, AddCouponBatch: add_coupon_batch}
    application = FakeApplication(command_handlers=handlers, observers=[counts])

    await application.bus.handle(a_batch())

    assert counts.optimistic_retries == {"add_coupon_batch": 2}
    assert counts.commands == {("add_coupon_batch", "done"): 1}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (MessageAlreadyHandled("/shop", "m1"), "repeated"),
        (ConcurrentUpdate(), "failed"),
        (OSError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_every_bad_end_of_a_command_has_an_outcome(error: BaseException, outcome: str) -> None:
    """With those that are done, their sum is what began."""
    counts, envelope = Counts(), a_command_envelope()

    counts(Begun(envelope, None))
    counts(Ended(envelope, error))

    assert counts.commands == {("add_coupon_batch", outcome): 1}


async def test_an_attempt_that_fails_after_a_takeover_is_superseded() -> None:
    """A frozen worker that wakes up is neither done nor retried, and somebody has to see it."""

    async def late(event: Event) -> None:
        application.database.clock += POLICY.lease + 1
        await application.outbox.claim(1, ["late"])
        raise OSError("too late")

    counts = Counts()
    application = observed(counts, late)

    await application.bus.handle(a_registration())

    assert counts.attempts == {("late", "superseded"): 1}


async def test_an_attempt_that_somebody_else_was_faster_with_is_superseded() -> None:
    """Also if that is found out only when it is to be settled."""

    class Outpaced(FakeOutbox):
        async def settle(self, delivery: Delivery) -> None:
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)

    counts = Counts()
    application = observed(counts, works)
    application.bus = replace(
        application.bus, outbox=Outpaced(application.database, application.policy)
    )

    await application.bus.handle(a_registration())

    assert counts.attempts == {("works", "superseded"): 1}


async def test_an_attempt_whose_lease_was_over_is_given_back() -> None:
    """It was not begun: it has an outcome, but no duration."""
    counts = Counts()
    late = replace(a_delivery(handler="works"), held_since=anyio.current_time() - POLICY.lease)

    await observed(counts, works).bus.deliver([late])

    assert counts.attempts == {("works", "given_back"): 1}
    assert counts.attempt_seconds == {}


async def test_a_clock_that_is_behind_makes_no_negative_time() -> None:
    """The event may have been committed on a machine whose clock is ahead."""
    counts = Counts()
    application = FakeApplication(event_handlers={UserRegistered: [works]}, observers=[counts])
    factory = application.bus.envelope_factory
    ahead = factory.now().replace(year=2999)
    application.bus = replace(application.bus, policy=replace(POLICY, inline=False))
    (event,) = await application.bus.execute(a_registration())
    late = replace(
        a_delivery(handler="works"), envelope=replace(event, time=ahead), held_since=1e12
    )

    await application.bus.deliver([late])

    assert counts.settled_seconds["works"].total == 0.0


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A bound includes what equals it, and the last has all."""
    histogram = Histogram((0.1, 1.0))

    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)

    assert list(histogram.buckets()) == [("0.1", 2), ("1.0", 3), ("+Inf", 4)]
    assert histogram.total == pytest.approx(7.65)
