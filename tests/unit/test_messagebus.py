"""The message bus, through handlers made for the test: what it promises whatever they do."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint

from allocation.domain.commands import AddCouponBatch, ChangeEmail, Command
from allocation.domain.events import CouponAllocated, Event, UserRegistered
from allocation.domain.exceptions import InvalidValue, Mistake, UserNotFound
from allocation.domain.model import CouponBatch
from allocation.domain.values import BatchReference, EmailAddress, Quantity
from allocation.service_layer.delivery import Delivery, IdempotencyKey
from allocation.service_layer.emails import welcome
from allocation.service_layer.envelopes import (
    CommandEnvelope,
    MessageContext,
    ReceivedMessage,
    current_context,
)
from allocation.service_layer.exceptions import (
    ChangedWhileReading,
    ConcurrentUpdate,
    HandlerAborted,
    HandlerTimeout,
    LeaseOver,
    NotAwaited,
    NotCommitted,
    OpenedTwice,
    WorkAfterCommit,
)
from allocation.service_layer.facts import (
    Begun,
    Delivered,
    Ended,
    Executed,
    Fact,
    Failed,
    OptimisticRetry,
    OutsideCall,
)
from allocation.service_layer.handlers import COMMAND_HANDLERS
from allocation.service_layer.messagebus import MAX_OPTIMISTIC_TRIES
from allocation.service_layer.ports import Notifications, Reading
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.wiring import Handler
from tests.builders import (
    POLICY,
    TODAY,
    FakeApplication,
    a_batch,
    a_delivery,
    a_registration,
    a_user_id,
)
from tests.fakes import FakeOutbox

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 60  # for what comes at once, or never
TIMEOUT = 1.0  # seconds; a busy machine must come to the handler before that

HANDLERS_OF_REGISTRATION = [
    "allocate_welcome_coupon",
    "log_registration",
    "refresh_user_view",
    "send_welcome_email",
]


class Meeting:
    """A place where a fixed number of tasks wait for each other: they have to run concurrently."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._complete = anyio.Event()

    async def attend(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._complete.set()
        with anyio.fail_after(LIMIT_SECONDS):
            await self._complete.wait()


def on_registration(*handlers: Handler) -> FakeApplication:
    return FakeApplication(event_handlers={UserRegistered: handlers})


def on_coupon(
    *handlers: Handler, allocate: Handler, beside: Sequence[Handler] = ()
) -> FakeApplication:
    return FakeApplication(
        event_handlers={UserRegistered: [allocate, *beside], CouponAllocated: handlers}
    )


def still_owed(application: FakeApplication) -> list[str]:
    """Return the handlers whose deliveries are there, to be tried again."""
    rows = application.database.deliveries.items()
    return [handler for (_, handler), row in rows if row.parked_at is None]


async def sleeps(event: Event) -> None:
    await anyio.sleep_forever()


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
        batch = await uow.coupon_batches.next_available()
        batch.allocate(event.user_id, token="1", today=TODAY)
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
        event_handlers={UserRegistered: [hangs]}, policy=replace(POLICY, handler_timeout=TIMEOUT)
    )
    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerTimeout]
    assert "hangs took longer than 1 s" in str(report.failures[0].error)


async def test_a_command_that_takes_too_long_fails_and_stores_nothing() -> None:
    """Whoever waits for it gets an answer, and can give it again."""

    async def hangs(command: AddCouponBatch, uow: UnitOfWork) -> None:
        uow.coupon_batches.add(CouponBatch.add(BatchReference("SPRING"), Quantity(1)))
        await uow.commit()
        await anyio.sleep_forever()

    application = FakeApplication(
        command_handlers={**COMMAND_HANDLERS, AddCouponBatch: hangs},
        policy=replace(POLICY, handler_timeout=TIMEOUT),
    )
    with pytest.raises(HandlerTimeout, match="hangs took longer than 1 s"):
        await application.bus.handle(a_batch())

    assert application.database.batches == {}


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
    """Return a command handler that loses to others so many times, and its units of work."""
    units: list[UnitOfWork] = []

    async def add_coupon_batch(command: AddCouponBatch, uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) <= times:
            raise ConcurrentUpdate
        await uow.commit()

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
    handler, units = losing(times=MAX_OPTIMISTIC_TRIES)

    with pytest.raises(ConcurrentUpdate):
        await with_command_handler(handler).bus.handle(a_batch())

    assert len(units) == MAX_OPTIMISTIC_TRIES


async def test_what_a_handler_has_committed_is_final_only_when_it_has_returned() -> None:
    """Whoever adds a line behind the commit, which fails, must not lose work by it."""

    async def commits_then_fails(event: UserRegistered, uow: UnitOfWork) -> None:
        await uow.registration_log.append(event.user_id, event.email)
        await uow.commit()
        raise OSError("the fax is out of paper")

    application = on_registration(commits_then_fails)
    report = await application.bus.handle(a_registration())

    assert [str(failure.error) for failure in report.failures] == ["the fax is out of paper"]
    assert application.database.registration_log == []
    assert still_owed(application) == ["commits_then_fails"]


async def test_a_handler_that_takes_too_long_after_its_commit_has_done_nothing() -> None:
    """Its retry finds everything as it was."""

    async def commits_then_hangs(event: UserRegistered, uow: UnitOfWork) -> None:
        await uow.registration_log.append(event.user_id, event.email)
        await uow.commit()
        await anyio.sleep_forever()

    application = FakeApplication(
        event_handlers={UserRegistered: [commits_then_hangs]},
        policy=replace(POLICY, handler_timeout=TIMEOUT),
    )
    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerTimeout]
    assert application.database.registration_log == []
    assert still_owed(application) == ["commits_then_hangs"]


async def forgets_to_commit(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.registration_log.append(event.user_id, event.email)


async def commits_twice(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.registration_log.append(event.user_id, event.email)
    await uow.commit()
    await uow.commit()


async def goes_on_after_its_commit(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.commit()
    await uow.registration_log.append(event.user_id, event.email)


async def changes_an_aggregate_after_its_commit(event: UserRegistered, uow: UnitOfWork) -> None:
    user = await uow.users.get(event.user_id)
    await uow.commit()
    user.change_email(EmailAddress("other@example.com"))


async def swallows_the_error_of_its_second_commit(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.registration_log.append(event.user_id, event.email)
    await uow.commit()
    with suppress(Exception):
        await uow.commit()


async def changes_what_it_only_read(event: UserRegistered, reading: Reading) -> None:
    async with reading() as stored:
        user = await stored.users.get(event.user_id)
        user.change_email(EmailAddress("other@example.com"))


async def forgets_to_await(event: UserRegistered, uow: UnitOfWork) -> None:
    uow.registration_log.append(event.user_id, event.email)  # type: ignore[unused-coroutine]
    await uow.commit()


async def forgets_to_await_an_email(event: UserRegistered, notifications: Notifications) -> None:
    notifications.send(welcome(event), idempotency_key=IdempotencyKey("1"))  # type: ignore[unused-coroutine]


async def opens_its_unit_of_work(event: UserRegistered, uow: UnitOfWork) -> None:
    async with uow:
        await uow.registration_log.append(event.user_id, event.email)
        await uow.commit()


async def goes_on_under_another_name(event: UserRegistered, uow: UnitOfWork) -> None:
    log = uow.registration_log
    await uow.commit()
    await log.append(event.user_id, event.email)


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        (forgets_to_commit, NotCommitted),
        (forgets_to_await, NotAwaited),
        (forgets_to_await_an_email, NotAwaited),
        (opens_its_unit_of_work, OpenedTwice),
        (goes_on_under_another_name, WorkAfterCommit),
        (commits_twice, WorkAfterCommit),
        (goes_on_after_its_commit, WorkAfterCommit),
        (changes_an_aggregate_after_its_commit, WorkAfterCommit),
        (swallows_the_error_of_its_second_commit, WorkAfterCommit),
        (changes_what_it_only_read, ChangedWhileReading),
    ],
)
async def test_an_event_handler_that_is_written_wrongly_has_done_nothing_and_is_still_owed(
    wrong: Handler, mistake: type[Mistake]
) -> None:
    """Nothing may count as done that was not done: somebody who copies will write this."""
    application = on_registration(wrong)

    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [mistake]
    assert application.database.registration_log == []
    assert still_owed(application) == [wrong.__name__]


async def test_a_mistake_that_stays_is_parked_in_the_end() -> None:
    """Somebody has to see it; until then a mended program may still do the work."""
    application = on_registration(forgets_to_commit)
    events = await application.bus.execute(a_registration())
    last = Delivery(
        envelope=events[0], handler="forgets_to_commit", attempt=POLICY.max_attempts, token=1
    )

    report = await application.bus.deliver([last])

    assert [failure.retry_in for failure in report.failures] == [None]
    assert [row.parked_at is None for row in application.database.deliveries.values()] == [False]


@pytest.mark.parametrize("commits", [0, 2])
async def test_a_command_handler_that_does_not_commit_once_is_a_mistake(commits: int) -> None:
    """The caller must not be told that all is well, nor "was registered before"."""

    async def add_coupon_batch(command: AddCouponBatch, uow: UnitOfWork) -> None:
        uow.coupon_batches.add(CouponBatch.add(BatchReference("WELCOME"), Quantity(1)))
        for _ in range(commits):
            await uow.commit()

    application = with_command_handler(add_coupon_batch)

    with pytest.raises(Mistake):
        await application.bus.handle(a_batch())

    assert application.database.batches == {}


async def raises_system_exit(event: Event) -> None:
    sys.exit(1)


async def cancels_itself(event: Event) -> None:
    raise asyncio.CancelledError


async def waits_for_something_cancelled(event: Event) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def raises_system_exit_in_a_group(event: Event) -> None:
    raise BaseExceptionGroup("all of them", [SystemExit(0), OSError()])


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_waiting_for_what_was_cancelled_is_a_failure() -> None:
    """It looks as if the handler itself had been cancelled."""
    report = await on_registration(waits_for_something_cancelled).bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerAborted]


@pytest.mark.parametrize(
    "wrong", [raises_system_exit, raises_system_exit_in_a_group, cancels_itself]
)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(wrong: Handler) -> None:
    """Libraries raise it when a connection is lost; the worker must not end silently by it."""
    application = on_registration(wrong)

    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerAborted]
    assert still_owed(application) == [wrong.__name__]


async def test_an_error_in_a_child_task_is_known_by_its_kind() -> None:
    """Not as "unhandled errors in a TaskGroup": nobody could tell what to do, or not to repeat."""

    async def fails(ready: anyio.Event) -> None:
        await ready.wait()
        raise InvalidValue("name", "is empty")

    async def delegates(event: Event) -> None:
        ready = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(fails, ready)
            group.start_soon(anyio.sleep_forever)
            ready.set()

    report = await on_registration(delegates).bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [InvalidValue]
    assert [failure.retry_in for failure in report.failures] == [None]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_by_asyncio_itself_passes() -> None:
    """Somebody who runs the bus in asyncio's own time-out has to be heard."""

    async def slow(event: Event) -> None:
        limit.reschedule(asyncio.get_running_loop().time())
        await anyio.sleep_forever()

    application = on_registration(slow)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LIMIT_SECONDS) as limit:
            await application.bus.handle(a_registration())

    (again,) = await application.outbox.claim(10, ["slow"])
    assert again.attempt == 1


async def test_no_attempt_begins_when_its_lease_may_be_over_before_it_ends() -> None:
    """Whoever dispatches late could run while another process has taken over."""
    runs = []

    async def slow(event: Event) -> None:
        runs.append(event)

    application = FakeApplication(event_handlers={UserRegistered: [slow]})
    events = await application.bus.execute(a_registration())
    passed = POLICY.handler_timeout
    late = [replace(event, held_since=event.held_since - passed) for event in events]

    report = await application.bus.dispatch(late)

    assert runs == []
    assert [failure.retry_in for failure in report.failures] == [0.0]
    (again,) = await application.outbox.claim(10, ["slow"])
    assert again.attempt == 1


async def test_the_time_limit_counts_from_the_commit() -> None:
    """Half of it may be over before the handler begins."""
    deadlines: list[float] = []

    async def looks(event: Event) -> None:
        deadlines.append(anyio.current_effective_deadline())

    application = FakeApplication(
        event_handlers={UserRegistered: [looks]}, policy=replace(POLICY, handler_timeout=1000)
    )
    events = await application.bus.execute(a_registration())
    late = [replace(event, held_since=event.held_since - 500) for event in events]

    await application.bus.dispatch(late)

    assert deadlines == [pytest.approx(late[0].held_since + 1000, abs=100)]


async def test_what_is_left_to_workers_is_due_at_once() -> None:
    """They need not wait until the lease of a process that is too busy ends."""
    application = on_registration(sleeps)
    events = await application.bus.execute(a_registration())

    await application.bus.leave(events)

    (again,) = await application.outbox.claim(10, ["sleeps"])
    assert again.attempt == 1


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

    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as scope:
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
        await uow.registration_log.append(event.user_id, event.email)
        application.database.clock += POLICY.lease + 1
        taken_over.extend(await application.outbox.claim(1, ["late"]))
        await uow.commit()

    application = on_registration(late)
    report = await application.bus.handle(a_registration())

    assert [delivery.attempt for delivery in taken_over] == [2]
    assert report.failures == ()
    assert application.database.registration_log == []
    assert len(application.database.deliveries) == 1


async def test_who_fails_after_somebody_has_taken_over_says_no_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes of the delivery is the new owner's to say: it is not tried again for this one."""

    async def late(event: UserRegistered) -> None:
        application.database.clock += POLICY.lease + 1
        await application.outbox.claim(1, ["late"])
        raise OSError("too late")

    application = on_registration(late)
    report = await application.bus.handle(a_registration())

    assert report.failures == ()
    assert [row.last_error for row in application.database.deliveries.values()] == [None]
    assert "next attempt" not in caplog.text


async def test_cancellation_passes_through_and_gives_the_lease_back() -> None:
    """A worker can then do at once what was interrupted."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = on_registration(interrupted)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert scope.cancelled_caught
    (again,) = await application.outbox.claim(10, ["interrupted"])
    assert again.attempt == 1


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

        self.outbox.record_failure = self.outbox.release = fail  # type: ignore[method-assign]


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
        batch = await uow.coupon_batches.next_available()
        batch.allocate(event.user_id, token="1", today=TODAY)
        await uow.commit()

    async def follow(event: CouponAllocated) -> None:
        seen["follow"] = current_context.get()

    application = on_coupon(follow, allocate=allocate)
    await application.bus.handle(a_batch())
    correlation_id = uuid4()

    received = ReceivedMessage(source="/shop", correlation_id=correlation_id)
    report = await application.bus.handle(a_registration(), received)

    registered, allocated = report.events
    assert registered.context.correlation_id == correlation_id
    assert allocated.context.correlation_id == correlation_id
    assert allocated.context.causation_id == registered.id
    assert allocated.context.handler == "allocate"
    assert seen["follow"] == MessageContext(
        correlation_id=correlation_id, causation_id=allocated.id, handler="follow"
    )
    assert current_context.get() is None


async def test_an_observer_is_told_everything_and_can_hurt_nobody() -> None:
    """Showing what happens must not change what happens."""
    told: list[Fact] = []

    def curious(fact: Fact) -> None:
        told.append(fact)
        raise BrokenPipeError

    command = a_registration()
    application = FakeApplication(observers=[curious, told.append])

    report = await application.bus.handle(command)

    begun, executed, ended = told[:6:2]
    assert told[:6] == [begun, begun, executed, executed, ended, ended]
    assert executed == Executed(command, report.events[:1])
    assert isinstance(begun, Begun)
    assert isinstance(begun.work, CommandEnvelope)
    assert begun.work.command == command
    assert ended == Ended(begun.work, None)
    for of_attempt in (
        [fact.work for fact in told if isinstance(fact, Begun)],
        [fact.work for fact in told if isinstance(fact, Ended)],
        [fact.delivery for fact in told if isinstance(fact, Delivered)],
    ):
        names = [each.handler for each in of_attempt if isinstance(each, Delivery)]
        assert sorted(names[::2]) == sorted(names[1::2]) == HANDLERS_OF_REGISTRATION
    assert report.failures == ()


async def test_an_observer_hears_of_the_end_of_every_attempt() -> None:
    """Whoever counts what runs would otherwise count what has failed for ever."""
    told: list[Fact] = []

    async def fails(event: Event) -> None:
        raise OSError("mail server is down")

    application = on_registration(fails)
    application.observers = [told.append]
    application.wire()

    report = await application.bus.handle(a_registration())

    assert [type(fact) for fact in told] == [Begun, Executed, Ended, Begun, Ended, Failed]
    (failure,) = report.failures
    assert told[-2:] == [Ended(failure.delivery, failure.error), Failed(failure)]


async def test_an_observer_hears_why_a_command_was_not_executed() -> None:
    """It leaves no row: who counts refusals has nothing else to count."""
    told: list[Fact] = []
    application = FakeApplication(observers=[told.append])

    with pytest.raises(UserNotFound) as refused:
        await application.bus.handle(ChangeEmail(user_id=a_user_id(), new_email="a@example.com"))

    begun, ended = told
    assert isinstance(begun, Begun)
    assert ended == Ended(begun.work, refused.value)


async def test_an_observer_hears_that_a_handler_is_late() -> None:
    """With the error that is stored, not with the cancellation that ended it."""
    told: list[Fact] = []
    application = FakeApplication(
        event_handlers={UserRegistered: [sleeps]},
        policy=replace(POLICY, handler_timeout=TIMEOUT),
        observers=[told.append],
    )

    await application.bus.handle(a_registration())

    ended = told[-2]
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, HandlerTimeout)


async def test_an_observer_is_told_in_the_task_that_runs_the_handler() -> None:
    """So it can set what the handler, and all it calls, will find."""
    found: list[str] = []
    ambient: ContextVar[str] = ContextVar("ambient")

    def sets(fact: Fact) -> None:
        if isinstance(fact, Begun):
            ambient.set("set by the observer")

    async def finds(event: Event) -> None:
        found.append(ambient.get("nothing"))

    application = on_registration(finds)
    application.observers = [sets]
    application.wire()

    await application.bus.handle(a_registration())

    assert found == ["set by the observer"]


async def test_an_observer_hears_of_lost_races() -> None:
    """They cost time, and somebody may want to know how much."""
    told: list[Fact] = []
    handler, _ = losing(times=2)
    application = with_command_handler(handler)
    application.observers = [told.append]
    application.wire()

    await application.bus.handle(a_batch())

    begun = told[0]
    assert isinstance(begun, Begun)
    assert isinstance(begun.work, CommandEnvelope)
    assert told[1:3] == [OptimisticRetry(begun.work)] * 2


async def test_an_observer_hears_of_the_calls_to_the_world_outside() -> None:
    """Of begin and end, within those of the attempt; and why one has failed."""
    told: list[Fact] = []

    async def sends(
        event: UserRegistered, notifications: Notifications, idempotency_key: IdempotencyKey
    ) -> None:
        await notifications.send(welcome(event), idempotency_key=idempotency_key)

    application = FakeApplication(event_handlers={UserRegistered: [sends]}, observers=[told.append])
    down = application.notifications.failures["ivan@example.com"] = OSError("mail server is down")

    await application.bus.handle(a_registration())

    begun, called, returned, ended = told[3:7]
    assert isinstance(called, Begun)
    assert isinstance(called.work, OutsideCall)
    assert (called.work.port, called.work.method) == ("notifications", "send")
    assert returned == Ended(called.work, down)
    assert isinstance(begun, Begun)
    assert ended == Ended(begun.work, down)


async def test_an_observer_hears_of_an_attempt_that_was_not_begun() -> None:
    """Its lease was over before: whoever counts attempts has to know what became of it."""
    told: list[Fact] = []
    application = FakeApplication(observers=[told.append])
    late = replace(a_delivery(), held_since=anyio.current_time() - POLICY.lease)

    await application.bus.deliver([late])

    begun, ended = told
    assert isinstance(begun, Begun)
    assert isinstance(ended, Ended)
    assert begun.work is ended.work is late
    assert isinstance(ended.error, LeaseOver)


@pytest.mark.parametrize("raised", [SystemExit(), asyncio.CancelledError(), RuntimeError()])
async def test_whatever_an_observer_raises_is_logged(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It may neither end the program nor make a cancellation up."""

    def raises(fact: Fact) -> None:
        raise raised

    application = FakeApplication(observers=[raises])

    report = await application.bus.handle(a_registration())

    assert report.failures == ()
    assert application.database.deliveries == {}
    assert "an observer failed" in caplog.text


async def test_the_trace_context_of_a_message_is_passed_on() -> None:
    """Where nobody makes spans, the traces of others are not cut."""
    application = FakeApplication()
    theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    await application.bus.handle(a_batch())
    report = await application.bus.handle(
        a_registration(), ReceivedMessage(source="/shop", id="m1", traceparent=theirs)
    )

    assert [event.context.traceparent for event in report.events] == [theirs, theirs]
