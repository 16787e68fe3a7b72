"""The message bus, through handlers made for the test: what it promises whatever they do."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint

from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command, RegisterUser
from allocation.domain.events import CouponAllocated, Event, UserRegistered
from allocation.domain.exceptions import (
    ConcurrentUpdate,
    HandlerTimeout,
    InvalidValue,
    UnknownHandler,
    UserNotFound,
)
from allocation.service_layer.context import current_cause
from allocation.service_layer.delivery import Delivery, Envelope, IdempotencyKey
from allocation.service_layer.handlers import COMMAND_HANDLERS, Handler
from allocation.service_layer.messagebus import LAST_WORD_SECONDS, MAX_RACES
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import POLICY, FakeApplication, a_batch, a_registration, a_user_id
from tests.fakes import FakeOutbox

pytestmark = pytest.mark.anyio


class Meeting:
    """A place where a fixed number of tasks wait for each other: they have to run concurrently."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = anyio.Event()

    async def attend(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        with anyio.fail_after(1):
            await self._complete.wait()


def on_registration(*handlers: Handler) -> FakeApplication:
    return FakeApplication(event_handlers={UserRegistered: handlers})


def on_coupon(
    *handlers: Handler, allocate: Handler, beside: Sequence[Handler] = ()
) -> FakeApplication:
    return FakeApplication(
        event_handlers={UserRegistered: [allocate, *beside], CouponAllocated: handlers}
    )


async def test_all_handlers_of_an_event_run_concurrently() -> None:
    """A slow mail server must not delay the coupon."""
    meeting = Meeting(3)

    async def first(event: Event) -> None:
        await meeting.attend()

    async def second(event: Event) -> None:
        await meeting.attend()

    async def third(event: Event) -> None:
        await meeting.attend()

    report = await on_registration(first, second, third).bus.handle(a_registration())

    assert report.failures == ()


async def test_events_that_follow_join_the_same_fan_out() -> None:
    """The handler of a following event meets a sibling of the handler that caused it."""
    meeting = Meeting(2)

    async def slow(event: Event) -> None:
        await meeting.attend()

    async def allocate(event: UserRegistered, uow: UnitOfWork) -> None:
        async with uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(event.user_id, token="1")
            await uow.commit()

    async def follow(event: CouponAllocated) -> None:
        await meeting.attend()

    application = on_coupon(follow, allocate=allocate, beside=[slow])
    await application.bus.handle(a_batch())

    report = await application.bus.handle(a_registration())

    assert report.failures == ()
    names = [type(envelope.event).__name__ for envelope in report.events]
    assert names == ["UserRegistered", "CouponAllocated"]
    assert application.database.deliveries == {}


async def test_a_failing_handler_leaves_the_work_of_its_siblings_done() -> None:
    """Handlers are independent: that is why there is more than one."""
    done = []

    async def fails(event: Event) -> None:
        raise OSError("mail server is down")

    async def works(event: Event) -> None:
        await checkpoint()
        done.append("works")

    async def works_too(event: Event) -> None:
        await checkpoint()
        done.append("works too")

    application = on_registration(fails, works, works_too)
    report = await application.bus.handle(a_registration())

    assert sorted(done) == ["works", "works too"]
    (failure,) = report.failures
    assert (failure.delivery.handler, str(failure.error)) == ("fails", "mail server is down")
    ((_, handler), row) = application.database.deliveries.popitem()
    assert (handler, row.last_error) == ("fails", "OSError: mail server is down")
    assert row.due_at == application.database.clock + POLICY.retry_base
    assert application.database.deliveries == {}


async def test_a_permanent_error_parks_the_delivery_at_once() -> None:
    """Trying what can never work again and again only hides it."""

    async def fails(event: Event) -> None:
        raise InvalidValue("name", "is empty")

    application = on_registration(fails)
    report = await application.bus.handle(a_registration())

    assert [failure.retry_in for failure in report.failures] == [None]
    (row,) = application.database.deliveries.values()
    assert row.parked_at is not None


async def test_a_handler_that_takes_too_long_fails() -> None:
    """It must be over before another process takes its delivery over."""

    async def hangs(event: Event) -> None:
        await anyio.sleep_forever()

    application = FakeApplication(
        event_handlers={UserRegistered: [hangs]}, policy=replace(POLICY, handler_timeout=0.01)
    )
    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerTimeout]
    assert "hangs took longer than 0.01 s" in str(report.failures[0].error)


async def test_a_refused_command_raises_its_own_error() -> None:
    """Callers catch domain errors, not groups of them."""
    application = FakeApplication()

    with pytest.raises(UserNotFound):
        await application.bus.handle(ChangeEmail(user_id=a_user_id(), new_email="a@example.com"))


async def test_execute_only_stores_and_dispatch_does_the_rest() -> None:
    """A server can answer after the first and do the second in the background."""
    application = FakeApplication()

    events = await application.bus.execute(a_registration(email="ivan@example.com"))
    sent_before = list(application.notifications.sent)
    owed_before = len(application.database.deliveries)
    report = await application.bus.dispatch(events)

    assert (sent_before, owed_before) == ([], 4)
    assert application.notifications.subjects_to("ivan@example.com") == ["Welcome, Иван"]
    assert report.failures == ()
    assert application.database.deliveries == {}


async def test_every_attempt_gets_a_unit_of_work_of_its_own() -> None:
    """Sharing one between handlers is the best-known trap of the book's code."""
    units = []

    async def first(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    async def second(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    await on_registration(first, second).bus.handle(a_registration())

    assert len({id(unit) for unit in units}) == 2


def losing(times: int) -> tuple[Handler, list[UnitOfWork]]:
    """Return a command handler that loses so many optimistic races, and its units of work."""
    units: list[UnitOfWork] = []

    async def add_coupon_batch(command: AddCouponBatch, uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) <= times:
            raise ConcurrentUpdate

    return add_coupon_batch, units


def with_command_handler(handler: Handler) -> FakeApplication:
    handlers: dict[type[Command], Handler] = {**COMMAND_HANDLERS, AddCouponBatch: handler}
    return FakeApplication(command_handlers=handlers)


async def test_a_lost_optimistic_race_is_run_again_in_a_fresh_unit_of_work() -> None:
    """The caller should not see a conflict that trying again resolves."""
    handler, units = losing(times=2)

    await with_command_handler(handler).bus.handle(a_batch())

    assert len({id(unit) for unit in units}) == 3


async def test_races_are_not_run_for_ever() -> None:
    """A conflict that does not go away is the caller's to see."""
    handler, units = losing(times=MAX_RACES)

    with pytest.raises(ConcurrentUpdate):
        await with_command_handler(handler).bus.handle(a_batch())

    assert len(units) == MAX_RACES


async def test_a_handler_that_fails_after_its_commit_has_done_its_work() -> None:
    """What is committed stands; doing it again would do it twice."""
    runs = []

    async def commits_then_fails(event: UserRegistered, uow: UnitOfWork) -> None:
        runs.append(event)
        async with uow:
            await uow.registration_log.append(event.user_id, event.email)
            await uow.commit()
        raise OSError

    application = on_registration(commits_then_fails)
    report = await application.bus.handle(a_registration())

    assert (len(runs), report.failures) == (1, ())
    assert len(application.database.registration_log) == 1
    assert application.database.deliveries == {}


async def test_a_handler_that_takes_too_long_after_its_commit_has_done_its_work() -> None:
    """Its events are handed out, and no retry is announced that would never come."""

    async def commits_then_hangs(event: UserRegistered, uow: UnitOfWork) -> None:
        async with uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(event.user_id, token="1")
            await uow.commit()
        await anyio.sleep_forever()

    followed = []

    async def follow(event: CouponAllocated) -> None:
        followed.append(event)

    application = FakeApplication(
        event_handlers={UserRegistered: [commits_then_hangs], CouponAllocated: [follow]},
        policy=replace(POLICY, handler_timeout=0.05),
    )
    await application.bus.handle(a_batch())

    report = await application.bus.handle(a_registration())

    assert (len(followed), report.failures) == (1, ())


async def test_a_failure_is_stored_also_when_it_is_the_answer_to_a_cancellation() -> None:
    """The lease is not left to run out, and the error is not lost."""

    async def clumsy(event: Event) -> None:
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            raise OSError("connection reset")

    application = on_registration(clumsy)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    (row,) = application.database.deliveries.values()
    assert row.last_error == "OSError: connection reset"
    assert row.due_at < application.database.clock + POLICY.lease


class NeverAnswers(FakeOutbox):
    """An outbox whose database is busy for ever."""

    async def release(self, delivery: Delivery) -> None:
        await anyio.sleep_forever()


async def test_a_stopped_handler_does_not_wait_for_ever_for_its_last_word() -> None:
    """Shutting down has a limit, whatever the database does."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = on_registration(interrupted)
    application.outbox = NeverAnswers(application.database, POLICY)
    application.wire()

    with anyio.fail_after(LAST_WORD_SECONDS + 1), anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert scope.cancelled_caught


async def test_work_that_is_done_is_settled_also_when_cancelled_just_then() -> None:
    """Otherwise the e-mail would be sent twice."""

    async def sends(event: Event) -> None:
        scope.cancel()

    application = on_registration(sends)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert application.database.deliveries == {}


async def test_a_delivery_that_was_taken_over_is_left_alone() -> None:
    """The late owner's work is rolled back, and is nobody's failure."""
    taken_over: list[Delivery] = []

    async def late(event: UserRegistered, uow: UnitOfWork) -> None:
        async with uow:
            await uow.registration_log.append(event.user_id, event.email)
            application.database.clock += POLICY.lease + 1
            taken_over.extend(await application.outbox.claim(limit=1))
            await uow.commit()

    application = on_registration(late)
    report = await application.bus.handle(a_registration())

    assert [delivery.attempt for delivery in taken_over] == [2]
    assert report.failures == ()
    assert application.database.registration_log == []
    assert len(application.database.deliveries) == 1


async def test_cancellation_passes_through_and_gives_the_lease_back() -> None:
    """A worker can then do at once what was interrupted."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = on_registration(interrupted)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert scope.cancelled_caught
    (again,) = await application.outbox.claim(limit=10)
    assert again.attempt == 1


async def test_a_handler_that_does_not_exist_parks_its_delivery() -> None:
    """Somebody removed it, or forgot to write down its new name: a person has to look."""
    application = FakeApplication()
    events = await application.bus.execute(a_registration())

    report = await application.bus.deliver(
        [Delivery(envelope=events[0], handler="send_fax", attempt=1)]
    )

    assert [type(failure.error) for failure in report.failures] == [UnknownHandler]
    assert report.failures[0].retry_in is None


async def test_a_renamed_handler_still_gets_its_deliveries() -> None:
    """Rows written before the renaming keep their key, and so their idempotency key."""
    keys = []

    async def greet(event: Event, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)

    before = on_registration(greet)
    events = await before.bus.execute(a_registration())
    application = FakeApplication(
        event_handlers={UserRegistered: [greet]}, renamed={"send_hello": "greet"}
    )

    await application.bus.deliver([Delivery(envelope=events[0], handler="send_hello", attempt=1)])

    assert keys == [f"{events[0].id}:send_hello"]


class LosesItsDatabase(FakeApplication):
    """An application whose outbox cannot store failures."""

    def __post_init__(self) -> None:
        super().__post_init__()

        async def fail(*args: object, **kwargs: object) -> None:
            raise OSError("the database is gone")

        self.outbox.reschedule = self.outbox.release = fail  # type: ignore[method-assign]


async def test_a_failure_that_cannot_be_stored_is_still_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The row is as it was, so the delivery falls due when its lease ends."""

    async def fails(event: Event) -> None:
        raise OSError("mail server is down")

    application = LosesItsDatabase(event_handlers={UserRegistered: [fails]})
    report = await application.bus.handle(a_registration())

    assert [failure.retry_in for failure in report.failures] == [POLICY.lease]
    assert "could not be stored: the database is gone" in caplog.text
    assert len(application.database.deliveries) == 1


async def test_a_lease_that_cannot_be_given_back_does_not_hide_the_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Swallowing cancellation would hang the program."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = LosesItsDatabase(event_handlers={UserRegistered: [interrupted]})
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert scope.cancelled_caught
    assert "could not be given back" in caplog.text


async def test_a_failure_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Event, handler, attempt, error and next time: what an operator needs, greppable."""

    async def fails(event: Event) -> None:
        raise OSError("mail server is down")

    report = await on_registration(fails).bus.handle(a_registration())

    event_id = report.events[0].id
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"fails failed on UserRegistered {event_id}, attempt 1: OSError: mail server is down; "
        "next attempt at 2026-01-01T00:00:01Z"
    ]


async def test_ids_lead_from_every_event_back_to_the_command() -> None:
    """One correlation id for the whole story; the causation id names the direct cause."""
    seen = {}

    async def allocate(event: UserRegistered, uow: UnitOfWork) -> None:
        async with uow:
            batch = await uow.coupon_batches.next_available()
            batch.allocate(event.user_id, token="1")
            await uow.commit()

    async def follow(event: CouponAllocated) -> None:
        seen["follow"] = current_cause.get()

    application = on_coupon(follow, allocate=allocate)
    await application.bus.handle(a_batch())
    correlation_id = uuid4()

    report = await application.bus.handle(a_registration(), correlation_id=correlation_id)

    registered, allocated = report.events
    assert registered.cause.correlation_id == correlation_id
    assert allocated.cause.correlation_id == correlation_id
    assert allocated.cause.causation_id == registered.id
    assert seen["follow"] == allocated.as_cause
    assert current_cause.get() is None


class Curious:
    """An observer that remembers what it was told, and then fails."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def executed(self, command: Command, events: Sequence[Envelope]) -> None:
        self.news.append(type(command).__name__)
        raise BrokenPipeError

    def delivered(self, delivery: Delivery, events: Sequence[Envelope]) -> None:
        self.news.append(delivery.handler)
        raise BrokenPipeError


async def test_an_observer_is_told_everything_and_can_hurt_nobody() -> None:
    """Showing what happens must not change what happens."""
    observer = Curious()
    application = FakeApplication(observer=observer)

    report = await application.bus.handle(a_registration())

    assert observer.news[0] == RegisterUser.__name__
    assert sorted(observer.news[1:]) == [
        "allocate_welcome_coupon",
        "log_registration",
        "notify_marketing",
        "refresh_user_view",
        "send_welcome_email",
    ]
    assert report.failures == ()
