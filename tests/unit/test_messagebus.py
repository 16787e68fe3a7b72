"""The message bus, through handlers made for the test: what it promises whatever they do."""

import asyncio
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from typing import Any, Self
from uuid import uuid4

import anyio
import pytest
from anyio.lowlevel import checkpoint

from allocation.domain.commands import ChangeEmail, Command, RegisterUser
from allocation.domain.events import EmailBounced, EmailChanged, Event, UserRegistered
from allocation.domain.exceptions import InvalidValue
from allocation.domain.users import EmailAddress, UserNotFound
from allocation.service_layer.deliveries import (
    CommandEnvelope,
    Delivery,
    Failure,
    IdempotencyKey,
)
from allocation.service_layer.emails import welcome
from allocation.service_layer.envelopes import MessageContext, MessageOrigin, current_context
from allocation.service_layer.exceptions import (
    CausationTooDeep,
    ConcurrentUpdate,
    HandlerInterrupted,
    HandlerTimeout,
    LeaseExpired,
    NotAwaited,
    UnexpectedAnswer,
)
from allocation.service_layer.handlers import COMMAND_HANDLERS, change_email
from allocation.service_layer.instrumentation import Observer, Outcome
from allocation.service_layer.messagebus import MAX_CONFLICT_RETRIES
from allocation.service_layer.ports import Notifications
from allocation.service_layer.registry import Handler, Later, Subscriber, Unsubscribed
from allocation.service_layer.unit_of_work import MAX_DEPTH, UnitOfWork
from tests.builders import (
    HANDLERS,
    POLICY,
    FakeApplication,
    a_delivery,
    a_registration,
    a_user,
    a_user_id,
)
from tests.fakes import FakeOutbox

pytestmark = pytest.mark.anyio

ANSWER = "answer@example.com"
LIMIT_SECONDS = 180  # for what comes at once, or never
# a busy machine must come to the handler before a second is over
IMPATIENT = replace(POLICY, handler_timeout_seconds=1.0)
PATIENT = replace(POLICY, handler_timeout_seconds=1000)

HANDLERS_OF_REGISTRATION = [
    "allocate_welcome_coupon",
    "log_registration",
    "refresh_user_view",
    "send_welcome_email",
]


async def registrations(application: FakeApplication, count: int) -> list[Delivery]:
    """Register users, and return the claims on the deliveries of their events."""
    commands = [a_registration(email=f"user{n}@example.com") for n in range(count)]
    committed = [await application.bus.execute(command) for command in commands]
    return [claim for each in committed for claim in each.claims]


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


def on_registration(*handlers: Subscriber, **others: Any) -> FakeApplication:
    return FakeApplication(event_handlers={UserRegistered: handlers}, **others)


def on_change(*handlers: Handler, beside: Sequence[Handler] = ()) -> FakeApplication:
    """Return an application in which one event follows another one."""
    return FakeApplication(
        event_handlers={UserRegistered: [change, *beside], EmailChanged: handlers}
    )


def still_owed(application: FakeApplication) -> list[str]:
    """Return the handlers whose deliveries are there, to be tried again."""
    rows = application.database.deliveries.items()
    return [handler for (_, handler), row in rows if row.parked_at is None]


async def sleeps(event: Event) -> None:
    await anyio.sleep_forever()


async def works(event: Event) -> None:
    await checkpoint()


async def fails(event: Event) -> None:
    raise OSError("mail server is down")


async def change(event: UserRegistered, uow: UnitOfWork) -> None:
    user = await uow.users.get(event.user_id)
    user.change_email(EmailAddress(f"new-{event.email}"))


async def log_and_sleep(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.registration_log.append(event.user_id, event.email)
    await anyio.sleep_forever()


async def test_all_handlers_of_an_event_run_concurrently() -> None:
    """A slow mail server must not delay the others."""
    meeting = Meeting(3)

    def attending(name: str) -> Handler:
        async def attend(event: Event) -> None:
            await meeting.attend()

        attend.__name__ = name
        return attend

    report = await on_registration(*map(attending, "abc")).bus.handle(a_registration())

    assert report.failures == []


async def test_events_that_follow_join_the_same_fan_out() -> None:
    """The handler of a following event meets a sibling of the handler that caused it."""
    meeting = Meeting(2)

    async def slow(event: Event) -> None:
        await meeting.attend()

    async def follow(event: EmailChanged) -> None:
        await meeting.attend()

    application = on_change(follow, beside=[slow])

    report = await application.bus.handle(a_registration())

    assert report.failures == []
    names = [type(envelope.event).__name__ for envelope in report.events]
    assert names == ["UserRegistered", "EmailChanged"]
    assert application.database.deliveries == {}


async def test_no_more_handlers_run_at_once_than_there_are_slots() -> None:
    """Hundreds of events at once would all have one lease, and take each other's time."""
    running = most = 0

    async def count(event: Event) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(10):
            await checkpoint()
        running -= 1

    application = on_registration(count, slots=3)
    claims = await registrations(application, 20)

    report = await application.bus.run_deliveries(claims)

    assert report.failures == []
    assert application.database.deliveries == {}
    assert most == 3


async def test_a_slot_is_free_when_its_handler_has_ended_not_its_tree() -> None:
    """Otherwise, parents that wait for their children would hold all slots, for ever."""

    async def follow(event: EmailChanged) -> None:
        await checkpoint()

    application = on_change(follow)
    application.slots = 1
    application.wire()
    claims = await registrations(application, 3)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.run_deliveries(claims)

    assert len(report.events) == 3
    assert application.database.deliveries == {}


async def test_what_cannot_begin_in_half_of_its_time_is_handed_over_at_once() -> None:
    """In one write: it comes when there is too much to do already."""
    released: list[int] = []

    class Counting(FakeOutbox):
        async def release(self, claims: Collection[Delivery]) -> None:
            released.append(len(claims))
            await super().release(claims)

    async def busy(event: Event) -> None:
        while not released:
            await checkpoint()

    application = on_registration(busy, policy=PATIENT, slots=1)
    application.outbox = Counting(application.database, application.policy)
    application.wire()
    claims = [
        replace(claim, leased_at=claim.leased_at - 499.9)
        for claim in await registrations(application, 5)
    ]

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.run_deliveries(claims)

    assert released == [4]
    assert [(type(f.error), f.retry_in) for f in report.failures] == [(LeaseExpired, 0.0)] * 4
    again = await application.outbox.claim(10, ["busy"])
    assert [claim.attempt for claim in again] == [1] * 4


async def test_what_waits_for_a_slot_is_given_back_when_cancelled() -> None:
    """A worker can then do at once what was not begun."""
    begun = anyio.Event()

    async def hangs(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    application = on_registration(hangs, slots=1)
    claims = await registrations(application, 3)

    async with anyio.create_task_group() as group:
        group.start_soon(application.bus.run_deliveries, claims)
        await begun.wait()
        group.cancel_scope.cancel()

    assert [c.attempt for c in await application.outbox.claim(10, ["hangs"])] == [1] * 3


class AnswersAtOnce(FakeOutbox):
    """An outbox that lets nobody run before it has answered."""

    released = 0

    async def release(self, claims: Collection[Delivery]) -> None:
        self.released += len(claims)


async def test_what_waits_for_a_slot_ends_with_its_cancellation_however_it_is_given_back() -> None:
    """A cancellation that was swallowed there would hang the worker."""
    application = on_registration(sleeps, slots=1)
    outbox = application.outbox = AnswersAtOnce(application.database, application.policy)
    application.wire()
    claims = await registrations(application, 3)

    async with anyio.create_task_group() as group:
        group.start_soon(application.bus.run_deliveries, claims)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert outbox.released == 3


async def test_a_failing_handler_leaves_the_work_of_its_siblings_done() -> None:
    """Handlers are independent: that is why there is more than one."""
    done = []

    async def works_too(event: Event) -> None:
        await checkpoint()
        done.append("works too")

    application = on_registration(fails, works, works_too)
    report = await application.bus.handle(a_registration())

    assert done == ["works too"]
    (failure,) = report.failures
    assert (failure.delivery.handler, str(failure.error)) == ("fails", "mail server is down")
    ((_, handler), row) = application.database.deliveries.popitem()
    assert (handler, row.last_error) == ("fails", "OSError: mail server is down")
    assert row.available_at == application.database.clock + POLICY.retry_initial_seconds
    assert application.database.deliveries == {}


async def test_a_permanent_error_parks_the_delivery_at_once() -> None:
    """Trying what can never work again and again only hides it."""

    async def refuses(event: Event) -> None:
        raise InvalidValue("name", "is empty")

    application = on_registration(refuses)
    report = await application.bus.handle(a_registration())

    assert [failure.retry_in for failure in report.failures] == [None]
    (row,) = application.database.deliveries.values()
    assert row.parked_at is not None


async def test_a_handler_that_takes_too_long_fails() -> None:
    """It must be over before another process takes its delivery over, and its retry begins anew."""
    application = on_registration(log_and_sleep, policy=IMPATIENT)
    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerTimeout]
    assert "log_and_sleep took longer than 1 s" in str(report.failures[0].error)
    assert application.database.registration_log == []
    assert still_owed(application) == ["log_and_sleep"]


async def test_a_command_that_takes_too_long_fails_and_stores_nothing() -> None:
    """Whoever waits for it gets an answer, and can give it again."""

    async def hangs(command: RegisterUser, uow: UnitOfWork) -> None:
        uow.users.add(a_user())
        await anyio.sleep_forever()

    application = with_command_handler(hangs, policy=IMPATIENT)
    with pytest.raises(HandlerTimeout, match="hangs took longer than 1 s"):
        await application.bus.handle(a_registration())

    assert application.database.users == {}


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
    report = await application.bus.run_deliveries(events.claims)

    assert (sent_before, owed_before) == ([], len(HANDLERS[UserRegistered]))
    assert application.notifications.subjects_to("ivan@example.com") == ["Welcome"]
    assert report.failures == []
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

    async def register_user(command: RegisterUser, uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) <= times:
            raise ConcurrentUpdate

    return register_user, units


def with_command_handler(handler: Handler, **others: Any) -> FakeApplication:
    handlers: dict[type[Command], Handler] = {**COMMAND_HANDLERS, RegisterUser: handler}
    return FakeApplication(command_handlers=handlers, **others)


async def test_a_lost_optimistic_race_is_run_again_in_a_fresh_unit_of_work() -> None:
    """The caller should not see a conflict that trying again resolves."""
    handler, units = losing(times=2)

    await with_command_handler(handler).bus.handle(a_registration())

    assert len({id(unit) for unit in units}) == 3


async def test_races_are_not_run_for_ever() -> None:
    """A conflict that does not go away is the caller's to see."""
    handler, units = losing(times=MAX_CONFLICT_RETRIES)

    with pytest.raises(ConcurrentUpdate):
        await with_command_handler(handler).bus.handle(a_registration())

    assert len(units) == MAX_CONFLICT_RETRIES


async def test_a_handler_that_fails_on_its_last_line_has_done_nothing() -> None:
    """Raised means not done: whoever adds a line, which fails, must not lose work by it."""

    async def fails_at_the_end(event: UserRegistered, uow: UnitOfWork) -> None:
        await uow.registration_log.append(event.user_id, event.email)
        raise OSError("the fax is out of paper")

    application = on_registration(fails_at_the_end)
    report = await application.bus.handle(a_registration())

    assert [str(failure.error) for failure in report.failures] == ["the fax is out of paper"]
    assert application.database.registration_log == []
    assert still_owed(application) == ["fails_at_the_end"]


async def test_a_handler_that_has_returned_has_done_its_work() -> None:
    """Returned means done: there is nothing more to say."""

    async def logs(event: UserRegistered, uow: UnitOfWork) -> None:
        await uow.registration_log.append(event.user_id, event.email)

    application = on_registration(logs)
    registration = a_registration()
    await application.bus.handle(registration)

    assert application.database.registration_log == [(registration.user_id, registration.email)]
    assert still_owed(application) == []


async def forgets_to_await_an_email(event: UserRegistered, notifications: Notifications) -> None:
    notifications.send(welcome(event), idempotency_key=IdempotencyKey("1"))  # type: ignore[unused-coroutine]


async def opens_its_unit_of_work(event: UserRegistered, uow: UnitOfWork) -> None:
    async with uow:  # type: ignore[attr-defined]
        await uow.registration_log.append(event.user_id, event.email)


async def commits_its_unit_of_work(event: UserRegistered, uow: UnitOfWork) -> None:
    await uow.registration_log.append(event.user_id, event.email)
    await uow.commit()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (forgets_to_await_an_email, NotAwaited),
        (opens_its_unit_of_work, TypeError),
        (commits_its_unit_of_work, AttributeError),
    ],
)
async def test_an_event_handler_that_is_written_wrongly_has_done_nothing_and_is_still_owed(
    wrong: Handler, error: type[Exception]
) -> None:
    """Nothing may count as done that was not done: somebody who copies will write this."""
    application = on_registration(wrong)

    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [error]
    assert application.database.registration_log == []
    assert still_owed(application) == [wrong.__name__]


async def test_a_mistake_that_stays_is_parked_in_the_end() -> None:
    """Somebody has to see it; until then a mended program may still do the work."""
    application = on_registration(forgets_to_await_an_email)
    (first,) = (await application.bus.execute(a_registration())).claims
    last = replace(first, attempt=POLICY.max_attempts)

    report = await application.bus.run_deliveries([last])

    assert [failure.retry_in for failure in report.failures] == [None]
    assert [row.parked_at is None for row in application.database.deliveries.values()] == [False]


class Templates:
    """A port of somebody who copies: a parameter may have any name."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, *, name: str, function: str) -> None:
        self.sent.append(f"{name} {function}")


async def test_a_parameter_of_a_port_may_have_any_name() -> None:
    """Those of what stands between handler and port are not in its way."""
    templates = Templates()

    async def sends(event: UserRegistered, notifications: Templates) -> None:
        await notifications.send(name="welcome", function="greeting")

    application = on_registration(sends)
    application.notifications = templates  # type: ignore[assignment]
    application.wire()
    report = await application.bus.handle(a_registration())

    assert report.failures == []
    assert templates.sent == ["welcome greeting"]


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

    assert [type(failure.error) for failure in report.failures] == [HandlerInterrupted]


@pytest.mark.parametrize(
    "wrong", [raises_system_exit, raises_system_exit_in_a_group, cancels_itself]
)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(wrong: Handler) -> None:
    """Libraries raise it when a connection is lost; the worker must not end silently by it."""
    application = on_registration(wrong)

    report = await application.bus.handle(a_registration())

    assert [type(failure.error) for failure in report.failures] == [HandlerInterrupted]
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


async def test_the_first_error_of_a_group_keeps_its_cause_and_notes_the_others() -> None:
    """The reason stands in the cause: without it, "not available" is all that the log says."""

    async def fails(event: Event) -> None:
        reason = InvalidValue("name", "is empty")
        reason.__cause__ = OSError("connection refused")
        inner = ExceptionGroup("inside", [reason, ValueError("second")])
        raise ExceptionGroup("outside", [inner, KeyError("third")])

    report = await on_registration(fails).bus.handle(a_registration())

    (failure,) = report.failures
    assert str(failure.error.__cause__) == "connection refused"
    notes = failure.error.__notes__
    assert [note.partition(": ")[2] for note in notes] == [
        "ValueError: second",
        "KeyError: 'third'",
    ]


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

    application = on_registration(slow)
    (claim,) = (await application.bus.execute(a_registration())).claims
    late = replace(claim, leased_at=claim.leased_at - POLICY.handler_timeout_seconds)

    report = await application.bus.run_deliveries([late])

    assert runs == []
    assert [failure.retry_in for failure in report.failures] == [0.0]
    (again,) = await application.outbox.claim(10, ["slow"])
    assert again.attempt == 1


async def test_the_time_limit_counts_from_the_commit() -> None:
    """Half of it may be over before the handler begins."""
    deadlines: list[float] = []

    async def looks(event: Event) -> None:
        deadlines.append(anyio.current_effective_deadline())

    application = on_registration(looks, policy=PATIENT)
    (claim,) = (await application.bus.execute(a_registration())).claims
    late = replace(claim, leased_at=claim.leased_at - 500)

    await application.bus.run_deliveries([late])

    assert deadlines == [pytest.approx(late.leased_at + 1000, abs=100)]


async def test_what_is_left_to_workers_is_available_at_once() -> None:
    """They need not wait until the lease of a process that is too busy ends."""
    application = on_registration(sleeps)
    committed = await application.bus.execute(a_registration())

    for claims in ((), committed.claims):
        await application.bus.hand_over_to_workers(claims)

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
    assert row.available_at < application.database.clock + POLICY.lease_seconds


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
        application.database.clock += POLICY.lease_seconds + 1
        taken_over.extend(await application.outbox.claim(1, ["late"]))

    application = on_registration(late)
    report = await application.bus.handle(a_registration())

    assert [delivery.attempt for delivery in taken_over] == [2]
    assert report.failures == []
    assert application.database.registration_log == []
    assert len(application.database.deliveries) == 1


async def test_who_fails_after_somebody_has_taken_over_says_no_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes of the delivery is the new owner's to say: it is not tried again for this one."""

    async def late(event: UserRegistered) -> None:
        application.database.clock += POLICY.lease_seconds + 1
        await application.outbox.claim(1, ["late"])
        raise OSError("too late")

    application = on_registration(late)
    report = await application.bus.handle(a_registration())

    assert report.failures == []
    assert [row.last_error for row in application.database.deliveries.values()] == [None]
    assert "next attempt" not in caplog.text


async def stopped_in_a_handler(kind: type[FakeOutbox] = FakeOutbox) -> FakeApplication:
    """Return an application with this outbox, whose caller was cancelled while a handler ran."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = on_registration(interrupted)
    application.outbox = kind(application.database, POLICY)
    application.wire()
    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as scope:
        await application.bus.handle(a_registration())

    assert scope.cancelled_caught
    return application


async def test_cancellation_passes_through_and_gives_the_lease_back() -> None:
    """A worker can then do at once what was interrupted."""
    application = await stopped_in_a_handler()

    (again,) = await application.outbox.claim(10, ["interrupted"])
    assert again.attempt == 1


async def test_a_renamed_handler_still_gets_its_deliveries() -> None:
    """Rows written before the renaming keep their key, and so their idempotency key."""
    keys = []

    async def greet(event: Event, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)

    before = on_registration(greet)
    (claim,) = (await before.bus.execute(a_registration())).claims
    application = on_registration(greet, renamed={"send_hello": "greet"})
    application.database = before.database
    application.wire()

    await application.bus.run_deliveries([replace(claim, handler="send_hello")])

    assert keys == [f"{claim.envelope.id}:send_hello"]


class LosesItsDatabase(FakeOutbox):
    """An outbox that cannot store failures."""

    async def record_failure(self, failure: Failure) -> None:
        raise OSError("the database is gone")

    async def release(self, claims: Collection[Delivery]) -> None:
        raise OSError("the database is gone")


async def test_a_failure_that_cannot_be_stored_is_still_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The row is as it was, so the delivery falls due when its lease ends."""
    application = on_registration(fails)
    application.outbox = LosesItsDatabase(application.database, POLICY)
    application.wire()
    report = await application.bus.handle(a_registration())

    assert [failure.retry_in for failure in report.failures] == [POLICY.lease_seconds]
    assert "could not be stored: the database is gone" in caplog.text
    assert len(application.database.deliveries) == 1


async def test_a_lease_that_cannot_be_given_back_does_not_hide_the_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Swallowing cancellation would hang the program."""
    await stopped_in_a_handler(LosesItsDatabase)

    assert "could not be given back" in caplog.text


class NeverAnswers(FakeOutbox):
    """An outbox whose database is busy for ever."""

    async def release(self, claims: Collection[Delivery]) -> None:
        await anyio.sleep_forever()


async def test_a_stopped_handler_does_not_wait_for_ever_for_its_last_word() -> None:
    """Shutting down has a limit, whatever the database does."""
    await stopped_in_a_handler(NeverAnswers)


async def test_a_failure_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Event, handler, attempt, error and next time: what an operator needs, greppable."""
    report = await on_registration(fails).bus.handle(a_registration())

    event_id = report.events[0].id
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"fails failed on UserRegistered {event_id}, attempt 1: OSError: mail server is down; "
        "next attempt at 2026-01-01T00:00:01Z"
    ]


async def test_ids_lead_from_every_event_back_to_the_command() -> None:
    """One correlation id for the whole story; the causation id names the direct cause."""
    seen = {}

    async def follow(event: EmailChanged) -> None:
        seen["follow"] = current_context.get()

    application = on_change(follow)
    correlation_id = uuid4()

    received = MessageOrigin(source="/shop", correlation_id=correlation_id)
    report = await application.bus.handle(a_registration(), received)

    registered, changed = report.events
    assert registered.context.correlation_id == correlation_id
    assert changed.context.correlation_id == correlation_id
    assert changed.context.causation_id == registered.id
    assert changed.context.handler == "change"
    assert seen["follow"] == MessageContext(
        correlation_id=correlation_id, causation_id=changed.id, handler="follow", depth=3
    )
    assert current_context.get() is None


async def test_handlers_that_cause_each_other_for_ever_are_stopped() -> None:
    """Each event would begin a fresh lease, so nothing else would end them."""

    async def ping(event: UserRegistered | EmailChanged, uow: UnitOfWork) -> None:
        user = await uow.users.get(event.user_id)
        user.record(EmailBounced(user_id=user.id, email="b@b.org"))

    async def pong(event: EmailBounced, uow: UnitOfWork) -> None:
        user = await uow.users.get(event.user_id)
        user.record(EmailChanged(user_id=user.id, old_email="a@b.org", new_email="b@b.org"))

    application = FakeApplication(
        event_handlers={UserRegistered: [ping], EmailChanged: [ping], EmailBounced: [pong]}
    )
    result = await application.bus.handle(a_registration())

    assert len(result.events) == MAX_DEPTH
    [failure] = result.failures
    assert isinstance(failure.error, CausationTooDeep)
    assert str(failure.error).endswith("ping → pong")
    assert failure.retry_in is None
    assert still_owed(application) == []


class Recorder(Observer):
    """An observer that remembers what it has seen, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        self.seen.append(("begin", name))
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.seen.append(("end", error))

    def command(self, envelope: CommandEnvelope, seconds: float) -> AbstractContextManager[None]:
        return self.watch(envelope.name)

    def attempt(self, delivery: Delivery, seconds: float) -> AbstractContextManager[None]:
        return self.watch(delivery.name)

    def port_call(self, port: str, method: str) -> AbstractContextManager[None]:
        return self.watch(f"{port}.{method}")

    def finished(self, outcome: Outcome) -> None:
        self.seen.append((outcome.status, outcome.work.name))


@pytest.mark.parametrize(
    ("handler", "error", "outcome"),
    [(works, None, "succeeded"), (fails, OSError, "retried"), (sleeps, HandlerTimeout, "retried")],
)
async def test_an_observer_sees_begin_end_and_outcome(
    handler: Handler, error: type[Exception] | None, outcome: str
) -> None:
    """Of the command, and then of each delivery: with the error that is stored, if it has failed.

    Whoever counts what runs would otherwise count what has failed for ever.
    """
    recorder = Recorder()
    application = on_registration(handler, policy=IMPATIENT, observers=[recorder])

    await application.bus.handle(a_registration())

    assert recorder.seen[:3] == [
        ("begin", "RegisterUser"),
        ("end", None),
        ("succeeded", "RegisterUser"),
    ]
    begin, (end, raised), finished = recorder.seen[3:]
    assert (begin, end) == (("begin", handler.__name__), "end")
    assert type(raised) is (error or type(None))
    assert finished == (outcome, handler.__name__)


async def test_an_observer_sees_why_a_command_was_not_executed() -> None:
    """It leaves no row: who counts refusals has nothing else to count."""
    recorder = Recorder()
    application = FakeApplication(observers=[recorder])

    with pytest.raises(UserNotFound) as refused:
        await application.bus.handle(ChangeEmail(user_id=a_user_id(), new_email="a@example.com"))

    assert recorder.seen == [("begin", "ChangeEmail"), ("end", refused.value)]


async def test_an_observer_works_in_the_task_that_runs_the_handler() -> None:
    """So it can set what the handler, and all it calls, will find."""
    found: list[str] = []
    ambient: ContextVar[str] = ContextVar("ambient")

    class Sets(Observer):
        @contextmanager
        def attempt(self, delivery: Delivery, seconds: float) -> Iterator[None]:
            ambient.set("set by the observer")
            yield

    async def finds(event: Event) -> None:
        found.append(ambient.get("nothing"))

    await on_registration(finds, observers=[Sets()]).bus.handle(a_registration())

    assert found == ["set by the observer"]


async def test_an_observer_sees_lost_races() -> None:
    """They cost time, and somebody may want to know how much."""
    recorder = Recorder()
    handler, _ = losing(times=2)

    await with_command_handler(handler, observers=[recorder]).bus.handle(a_registration())

    assert recorder.seen[1:3] == [("conflict", "RegisterUser")] * 2


async def test_an_observer_sees_the_calls_to_external_systems() -> None:
    """Begin and end, within those of the attempt; and why one has failed."""
    recorder = Recorder()

    async def sends(
        event: UserRegistered, notifications: Notifications, idempotency_key: IdempotencyKey
    ) -> None:
        await notifications.send(welcome(event), idempotency_key=idempotency_key)

    application = on_registration(sends, observers=[recorder])
    down = application.notifications.failures["ivan@example.com"] = OSError("mail server is down")

    await application.bus.handle(a_registration())

    assert recorder.seen[3:7] == [
        ("begin", "sends"),
        ("begin", "notifications.send"),
        ("end", down),
        ("end", down),
    ]


async def test_an_observer_sees_an_attempt_that_was_not_begun() -> None:
    """Its lease was over before: whoever counts attempts has to know what became of it."""
    recorder = Recorder()
    application = FakeApplication(observers=[recorder])
    late = replace(a_delivery(), leased_at=anyio.current_time() - POLICY.lease_seconds)

    await application.bus.run_deliveries([late])

    (_, begun), (_, error), outcome = recorder.seen
    assert begun == late.handler
    assert isinstance(error, LeaseExpired)
    assert outcome == ("handed over", late.handler)


class Fails(Observer):
    """An observer that fails at the call, the begin, the end, or the outcome."""

    def __init__(self, moment: str, raised: BaseException) -> None:
        self._moment, self._raised = moment, raised

    def command(self, envelope: CommandEnvelope, seconds: float) -> Self:
        return self.at("call")

    def attempt(self, delivery: Delivery, seconds: float) -> Self:
        return self.at("call")

    def finished(self, outcome: Outcome) -> None:
        self.at("outcome")

    def at(self, moment: str) -> Self:
        if moment == self._moment:
            raise self._raised
        return self

    def __enter__(self) -> None:
        self.at("begin")

    def __exit__(self, *error: object) -> bool:
        return bool(self.at("end"))  # which would swallow an error


@pytest.mark.parametrize("moment", ["call", "begin", "end", "outcome"])
@pytest.mark.parametrize("raised", [SystemExit(), asyncio.CancelledError(), RuntimeError()])
async def test_whatever_an_observer_raises_is_logged(
    raised: BaseException, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It may neither end the program nor make a cancellation up, nor hide it from the others."""
    recorder = Recorder()
    application = FakeApplication(observers=[Fails(moment, raised), recorder])

    report = await application.bus.handle(a_registration())

    assert report.failures == []
    assert application.database.deliveries == {}
    assert "an observer failed" in caplog.text
    begun = [name for what, name in recorder.seen if what == "begin"]
    assert len([what for what, _ in recorder.seen if what == "end"]) == len(begun)
    assert {*HANDLERS_OF_REGISTRATION} < {*begun}


async def test_an_observer_cannot_swallow_an_error() -> None:
    """Then a handler that has failed would count as done."""
    application = FakeApplication(observers=[Fails("never", RuntimeError())])

    with pytest.raises(UserNotFound):
        await application.bus.handle(ChangeEmail(user_id=a_user_id(), new_email="a@example.com"))


async def test_the_trace_context_of_a_message_is_passed_on() -> None:
    """Where nobody makes spans, the traces of others are not cut."""
    application = on_change()
    theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    report = await application.bus.handle(
        a_registration(), MessageOrigin(source="/shop", id="m1", traceparent=theirs)
    )

    assert [event.context.traceparent for event in report.events] == [theirs, theirs]


async def test_what_has_no_handler_in_this_process_is_left_to_another() -> None:
    """A port may not be configured here: that is no failed attempt, and no KeyError."""
    application = on_registration(works)
    (claim,) = await registrations(application, 1)
    elsewhere = replace(application.bus, registry=replace(application.bus.registry, events={}))

    report = await elsewhere.run_deliveries([claim])

    assert report.failures == []
    (again,) = await application.outbox.claim(10, ["works"])
    assert again.attempt == 1


def asks_outside(answer: Command | None, called: list[IdempotencyKey]) -> Handler:
    """Return a handler with an external effect, which returns what the outside has answered."""

    async def ask(event: UserRegistered, idempotency_key: IdempotencyKey) -> ChangeEmail | None:
        called.append(idempotency_key)
        return answer  # type: ignore[return-value]

    return ask


def an_answer(registration: RegisterUser) -> ChangeEmail:
    return ChangeEmail(user_id=registration.user_id, new_email=ANSWER)


def emails(application: FakeApplication) -> list[str]:
    return [str(user.email) for user in application.database.users.values()]


async def test_the_answer_of_the_outside_is_stored_with_the_delivery() -> None:
    """The returned command is executed, recorded, and a part of the trace; its events follow."""
    called: list[IdempotencyKey] = []
    ivan = a_registration()
    application = on_registration(asks_outside(an_answer(ivan), called))

    registered = await application.bus.execute(ivan)
    result = await application.bus.run_deliveries(registered.claims)

    [claim], [_, answer] = registered.claims, application.database.commands
    assert result.failures == []
    assert emails(application) == [ANSWER]
    assert (answer.settles, answer.origin.source) == (claim, "ask")
    assert answer.context.correlation_id == claim.context.correlation_id
    assert (answer.context.causation_id, answer.context.depth) == (answer.id, 2)
    assert application.database.deliveries == {}


async def test_no_answer_is_an_answer() -> None:
    """The delivery is done."""
    application = on_registration(asks_outside(None, []))

    result = await application.bus.handle(a_registration())

    assert result.failures == []
    assert application.database.deliveries == {}


async def test_an_answer_that_a_rule_refuses_is_parked_with_what_it_says() -> None:
    """The effect has happened: a person needs to know what the outside has said."""
    user_id = a_user_id()

    async def ask(event: UserRegistered, notifications: Notifications) -> ChangeEmail:
        return ChangeEmail(user_id=user_id, new_email="a@b.de")

    application = on_registration(ask)

    [failure] = (await application.bus.handle(a_registration())).failures

    assert isinstance(failure.error, UserNotFound)
    assert failure.retry_in is None
    assert failure.error.__notes__ == [
        f"ask had returned ChangeEmail(user_id={user_id!r}, new_email='a@b.de')"
    ]


async def test_what_the_annotation_does_not_say_is_no_answer() -> None:
    """Nobody has checked at start that it can be stored."""
    application = on_registration(asks_outside(a_registration(), []))

    [failure] = (await application.bus.handle(a_registration())).failures

    assert isinstance(failure.error, UnexpectedAnswer)
    assert still_owed(application) == ["ask"]


async def test_a_conflict_repeats_the_command_and_not_the_effect() -> None:
    """The outside has done its part: only what is stored of it has met with others."""
    called: list[IdempotencyKey] = []
    tries = count(1)

    async def store(command: ChangeEmail, uow: UnitOfWork) -> None:
        if next(tries) < MAX_CONFLICT_RETRIES:
            raise ConcurrentUpdate
        await change_email(command, uow)

    ivan = a_registration()
    application = FakeApplication(
        event_handlers={UserRegistered: [asks_outside(an_answer(ivan), called)]},
        command_handlers={**COMMAND_HANDLERS, ChangeEmail: store},
    )

    result = await application.bus.handle(ivan)

    assert result.failures == []
    assert emails(application) == [ANSWER]
    assert len(called) == 1


async def test_an_answer_is_stored_once_however_often_the_outside_is_asked() -> None:
    """The next attempt has the same key; and who has lost the lease stores nothing."""
    called: list[IdempotencyKey] = []
    ivan = a_registration()
    application = on_registration(asks_outside(an_answer(ivan), called))
    first = (await application.bus.execute(ivan)).claims
    application.database.clock += POLICY.lease_seconds + 1
    second = await application.outbox.claim(10, ["ask"])

    late = await application.bus.run_deliveries(first)
    assert (late.events, late.failures) == ([], [])
    assert emails(application) == [ivan.email]
    await application.bus.run_deliveries(second)

    assert len(called) == 2
    assert len(set(called)) == 1
    assert len(application.database.commands) == 2


async def test_an_answer_is_stored_though_the_caller_gives_up() -> None:
    """Whoever stops a process in the moment between does not lose what the outside has said."""
    scope = anyio.CancelScope()

    ivan = a_registration()

    async def ask(event: UserRegistered) -> ChangeEmail:
        scope.cancel()
        return an_answer(ivan)

    application = on_registration(ask)
    committed = await application.bus.execute(ivan)

    with scope:
        await application.bus.run_deliveries(committed.claims)

    assert scope.cancelled_caught
    assert emails(application) == [ANSWER]
    assert application.database.deliveries == {}


async def test_what_is_for_later_is_left_to_workers() -> None:
    """The process that commits does not wait for it, and holds no lease."""
    application = on_registration(Later(sleeps, after="retry_max_seconds"))

    result = await application.bus.handle(a_registration())

    [row] = application.database.deliveries.values()
    assert result.failures == []
    assert (row.attempts, row.held) == (0, False)
    assert row.available_at == application.database.clock + POLICY.retry_max_seconds


async def test_an_unsubscribed_handler_does_what_is_stored_and_gets_nothing_new() -> None:
    """A release that removed it at once would leave deliveries that no process can run."""
    application = on_registration(works)
    await application.bus.execute(a_registration())
    application.event_handlers = {UserRegistered: [Unsubscribed(works)]}
    application.wire()

    committed = await application.bus.execute(a_registration(email="maria@example.com"))
    application.database.clock += POLICY.lease_seconds + 1
    stored = await application.outbox.claim(10, ["works"])
    await application.bus.run_deliveries(stored)

    assert (len(committed.claims), len(stored)) == (0, 1)
    assert application.database.deliveries == {}
