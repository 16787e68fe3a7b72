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
from aftercommit.bus import MAX_CONFLICT_RETRIES
from aftercommit.claims import Claim, CommandWork, Failure, IdempotencyKey
from aftercommit.envelopes import MessageContext, MessageOrigin, current_context
from aftercommit.errors import (
    CausationTooDeep,
    ConcurrentUpdate,
    HandlerInterrupted,
    HandlerTimeout,
    InvalidValue,
    LeaseExpired,
    NotCompleted,
    UnexpectedAnswer,
)
from aftercommit.handler_table import Handler, Later, Unsubscribed
from aftercommit.observers import Observer, Outcome
from aftercommit.unit_of_work import MAX_DEPTH
from anyio.lowlevel import checkpoint

from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.user_mailer import EmailSender
from tests import things
from tests.builders import COMMANDS, POLICY, FakeApplication, a_delivery
from tests.fakes import FakeOutbox
from tests.things import (
    HANDLERS_OF_THING_MADE,
    RECIPIENT,
    MakeThing,
    RenameThing,
    Thing,
    ThingBroken,
    ThingMade,
    ThingNotFound,
    ThingRenamed,
    a_command,
    a_thing,
    a_thing_id,
    announcement,
    rename_thing,
    things_of,
    write,
)

pytestmark = pytest.mark.anyio

ANSWER = "the answer"
LIMIT_SECONDS = 180  # for what comes at once, or never
# a busy machine must come to the handler before a second is over
IMPATIENT = replace(POLICY, handler_timeout_seconds=1.0)
PATIENT = replace(POLICY, handler_timeout_seconds=1000, lease_seconds=2000)


async def make_some(application: FakeApplication, count: int) -> list[Claim]:
    """Make things, and return the claims on the deliveries of their events."""
    commands = [a_command() for _ in range(count)]
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


def on_made(*handlers: Any, **others: Any) -> FakeApplication:
    return FakeApplication(event_handlers={ThingMade: handlers}, **others)


def on_change(
    *handlers: Handler[Any, Any], beside: Sequence[Handler[Any, Any]] = ()
) -> FakeApplication:
    """Return an application in which one event follows another one."""
    return FakeApplication(event_handlers={ThingMade: [change, *beside], ThingRenamed: handlers})


def lines(application: FakeApplication) -> list[str]:
    """Return what handlers have written."""
    return [line.text for line in application.database.tables[things.Line].values()]


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


async def change(event: ThingMade, uow: UnitOfWork) -> None:
    (await things_of(uow).get(event.thing_id)).rename(f"new {event.name}")


async def write_and_sleep(event: ThingMade, uow: UnitOfWork) -> None:
    write(uow, event.name)
    await anyio.sleep_forever()


async def test_all_handlers_of_an_event_run_concurrently() -> None:
    """A slow mail server must not delay the others."""
    meeting = Meeting(3)

    def attending(name: str) -> Handler[Any, Any]:
        async def attend(event: Event) -> None:
            await meeting.attend()

        attend.__name__ = name
        return attend

    report = await on_made(*map(attending, "abc")).bus.handle(a_command())

    assert report.failures == []


async def test_events_that_follow_join_the_same_fan_out() -> None:
    """The handler of a following event meets a sibling of the handler that caused it."""
    meeting = Meeting(2)

    async def slow(event: Event) -> None:
        await meeting.attend()

    async def follow(event: ThingRenamed) -> None:
        await meeting.attend()

    application = on_change(follow, beside=[slow])

    report = await application.bus.handle(a_command())

    assert report.failures == []
    names = [type(envelope.event).__name__ for envelope in report.events]
    assert names == ["ThingMade", "ThingRenamed"]
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

    application = on_made(count, slots=3)
    claims = await make_some(application, 20)

    report = await application.bus.run(claims)

    assert report.failures == []
    assert application.database.deliveries == {}
    assert most == 3


async def test_a_slot_is_free_when_its_handler_has_ended_not_its_tree() -> None:
    """Otherwise, parents that wait for their children would hold all slots, for ever."""

    async def follow(event: ThingRenamed) -> None:
        await checkpoint()

    application = on_change(follow)
    application.slots = 1
    application.wire()
    claims = await make_some(application, 3)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.run(claims)

    assert len(report.events) == 3
    assert application.database.deliveries == {}


async def test_what_has_no_time_left_to_begin_is_handed_over_at_once() -> None:
    """In one write: it comes when there is too much to do already."""
    released: list[int] = []

    class Counting(FakeOutbox):
        async def release(self, claims: Collection[Claim]) -> None:
            released.append(len(claims))
            await super().release(claims)

    async def busy(event: Event) -> None:
        while not released:
            await checkpoint()

    application = on_made(busy, policy=PATIENT, slots=1)
    application.outbox = Counting(application.database, application.policy)
    application.wire()
    claims = [
        replace(claim, leased_at=claim.leased_at - PATIENT.begin_seconds + 0.1)
        for claim in await make_some(application, 5)
    ]

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.run(claims)

    assert released == [4]
    assert [(type(f.error), f.retry_in) for f in report.failures] == [(LeaseExpired, 0.0)] * 4
    again = await application.outbox.claim(10, ["busy"])
    assert [claim.attempt for claim in again] == [1] * 4


async def test_what_waits_for_a_slot_is_given_back_when_its_handler_is_paused() -> None:
    """A person has paused it because of what it does: it must do no more of it."""
    begun: list[Event] = []

    async def spams(event: Event) -> None:
        begun.append(event)
        application.database.paused.add("spams")

    application = on_made(spams, slots=1)
    claims = await make_some(application, 3)

    report = await application.bus.run(claims)

    assert (len(begun), report.failures) == (1, [])
    application.database.paused.clear()
    assert [c.attempt for c in await application.outbox.claim(10, ["spams"])] == [1] * 2


async def test_what_waits_for_a_slot_is_given_back_when_cancelled() -> None:
    """A worker can then do at once what was not begun."""
    begun = anyio.Event()

    async def hangs(event: Event) -> None:
        begun.set()
        await anyio.sleep_forever()

    application = on_made(hangs, slots=1)
    claims = await make_some(application, 3)

    async with anyio.create_task_group() as group:
        group.start_soon(application.bus.run, claims)
        await begun.wait()
        group.cancel_scope.cancel()

    assert [c.attempt for c in await application.outbox.claim(10, ["hangs"])] == [1] * 3


class AnswersAtOnce(FakeOutbox):
    """An outbox that lets nobody run before it has answered."""

    released = 0

    async def release(self, claims: Collection[Claim]) -> None:
        self.released += len(claims)


async def test_what_waits_for_a_slot_ends_with_its_cancellation_however_it_is_given_back() -> None:
    """A cancellation that was swallowed there would hang the worker."""
    application = on_made(sleeps, slots=1)
    outbox = application.outbox = AnswersAtOnce(application.database, application.policy)
    application.wire()
    claims = await make_some(application, 3)

    async with anyio.create_task_group() as group:
        group.start_soon(application.bus.run, claims)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert outbox.released == 3


async def test_a_failing_handler_leaves_the_work_of_its_siblings_done() -> None:
    """Handlers are independent: that is why there is more than one."""
    done = []

    async def works_too(event: Event) -> None:
        await checkpoint()
        done.append("works too")

    application = on_made(fails, works, works_too)
    report = await application.bus.handle(a_command())

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

    application = on_made(refuses)
    report = await application.bus.handle(a_command())

    assert [failure.retry_in for failure in report.failures] == [None]
    (row,) = application.database.deliveries.values()
    assert row.parked_at is not None


async def test_a_handler_that_takes_too_long_fails() -> None:
    """It must be over before another process takes its delivery over, and its retry begins anew."""
    application = on_made(write_and_sleep, policy=IMPATIENT)
    report = await application.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [HandlerTimeout]
    assert "write_and_sleep took longer than 1 s" in str(report.failures[0].error)
    assert lines(application) == []
    assert still_owed(application) == ["write_and_sleep"]


async def test_a_command_that_takes_too_long_fails_and_stores_nothing() -> None:
    """Whoever waits for it gets an answer, and can give it again."""

    async def hangs(command: MakeThing, uow: UnitOfWork) -> None:
        things_of(uow).add(a_thing())
        await anyio.sleep_forever()

    application = with_command_handler(hangs, policy=IMPATIENT)
    with pytest.raises(HandlerTimeout, match="hangs took longer than 1 s"):
        await application.bus.handle(a_command())

    assert application.database.tables[Thing] == {}


async def test_a_refused_command_raises_its_own_error() -> None:
    """Callers catch domain errors, not groups of them."""
    application = FakeApplication()

    with pytest.raises(ThingNotFound):
        await application.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))


async def test_execute_only_stores_and_dispatch_does_the_rest() -> None:
    """A server can answer after the first and do the second in the background."""
    application = FakeApplication()

    events = await application.bus.execute(a_command())
    sent_before = list(application.notifications.sent)
    owed_before = len(application.database.deliveries)
    report = await application.bus.run(events.claims)

    assert (sent_before, owed_before) == ([], len(HANDLERS_OF_THING_MADE))
    assert application.notifications.subjects_to(RECIPIENT) == ["A thing"]
    assert report.failures == []
    assert application.database.deliveries == {}


async def test_every_attempt_gets_a_unit_of_work_of_its_own() -> None:
    """Sharing one between handlers is the best-known trap of the book's code."""
    units = []

    async def first(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    async def second(event: Event, uow: UnitOfWork) -> None:
        units.append(uow)

    await on_made(first, second).bus.handle(a_command())

    assert len({id(unit) for unit in units}) == 2


def losing(times: int) -> tuple[Handler[Any, Any], list[UnitOfWork]]:
    """Return a command handler that loses to others so many times, and its units of work."""
    units: list[UnitOfWork] = []

    async def make_thing(command: MakeThing, uow: UnitOfWork) -> None:
        units.append(uow)
        if len(units) <= times:
            raise ConcurrentUpdate

    return make_thing, units


def with_command_handler(handler: Handler[Any, Any], **others: Any) -> FakeApplication:
    handlers: dict[type[Command], Handler[Any, Any]] = {**COMMANDS, MakeThing: handler}
    return FakeApplication(command_handlers=handlers, **others)


async def test_a_lost_optimistic_race_is_run_again_in_a_fresh_unit_of_work() -> None:
    """The caller should not see a conflict that trying again resolves."""
    handler, units = losing(times=2)

    await with_command_handler(handler).bus.handle(a_command())

    assert len({id(unit) for unit in units}) == 3


async def test_races_are_not_run_for_ever() -> None:
    """A conflict that does not go away is the caller's to see."""
    handler, units = losing(times=MAX_CONFLICT_RETRIES)

    with pytest.raises(ConcurrentUpdate):
        await with_command_handler(handler).bus.handle(a_command())

    assert len(units) == MAX_CONFLICT_RETRIES


async def test_a_handler_that_fails_on_its_last_line_has_done_nothing() -> None:
    """Raised means not done: whoever adds a line, which fails, must not lose work by it."""

    async def fails_at_the_end(event: ThingMade, uow: UnitOfWork) -> None:
        write(uow, event.name)
        raise OSError("the fax is out of paper")

    application = on_made(fails_at_the_end)
    report = await application.bus.handle(a_command())

    assert [str(failure.error) for failure in report.failures] == ["the fax is out of paper"]
    assert lines(application) == []
    assert still_owed(application) == ["fails_at_the_end"]


async def test_a_handler_that_has_returned_has_done_its_work() -> None:
    """Returned means done: there is nothing more to say."""

    async def logs(event: ThingMade, uow: UnitOfWork) -> None:
        write(uow, event.name)

    application = on_made(logs)
    command = a_command()
    await application.bus.handle(command)

    assert lines(application) == [command.name]
    assert still_owed(application) == []


async def opens_its_unit_of_work(event: ThingMade, uow: UnitOfWork) -> None:
    async with uow:  # type: ignore[attr-defined]
        write(uow, event.name)


async def commits_its_unit_of_work(event: ThingMade, uow: UnitOfWork) -> None:
    write(uow, event.name)
    await uow.commit()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (opens_its_unit_of_work, TypeError),
        (commits_its_unit_of_work, AttributeError),
    ],
)
async def test_an_event_handler_that_is_written_wrongly_has_done_nothing_and_is_still_owed(
    wrong: Handler[Any, Any], error: type[Exception]
) -> None:
    """Nothing may count as done that was not done: somebody who copies will write this."""
    application = on_made(wrong)

    report = await application.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [error]
    assert lines(application) == []
    assert still_owed(application) == [wrong.__name__]


async def test_a_mistake_that_stays_is_parked_in_the_end() -> None:
    """Somebody has to see it; until then a mended program may still do the work."""
    application = on_made(opens_its_unit_of_work)
    (first,) = (await application.bus.execute(a_command())).claims
    last = replace(first, attempt=POLICY.max_attempts)

    report = await application.bus.run([last])

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

    async def sends(event: ThingMade, notifications: Templates) -> None:
        await notifications.send(name="letter", function="greeting")

    application = on_made(sends)
    application.notifications = templates  # type: ignore[assignment]
    application.wire()
    report = await application.bus.handle(a_command())

    assert report.failures == []
    assert templates.sent == ["letter greeting"]


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
    report = await on_made(waits_for_something_cancelled).bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [HandlerInterrupted]


@pytest.mark.parametrize(
    "wrong", [raises_system_exit, raises_system_exit_in_a_group, cancels_itself]
)
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(wrong: Handler[Any, Any]) -> None:
    """Libraries raise it when a connection is lost; the worker must not end silently by it."""
    application = on_made(wrong)

    report = await application.bus.handle(a_command())

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

    report = await on_made(delegates).bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [InvalidValue]
    assert [failure.retry_in for failure in report.failures] == [None]


async def test_the_first_error_of_a_group_keeps_its_cause_and_notes_the_others() -> None:
    """The reason stands in the cause: without it, "not available" is all that the log says."""

    async def fails(event: Event) -> None:
        reason = InvalidValue("name", "is empty")
        reason.__cause__ = OSError("connection refused")
        inner = ExceptionGroup("inside", [reason, ValueError("second")])
        raise ExceptionGroup("outside", [inner, KeyError("third")])

    report = await on_made(fails).bus.handle(a_command())

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

    application = on_made(slow)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(LIMIT_SECONDS) as limit:
            await application.bus.handle(a_command())

    (again,) = await application.outbox.claim(10, ["slow"])
    assert again.attempt == 1


@pytest.mark.parametrize("transactional", [True, False])
async def test_no_attempt_begins_when_its_lease_may_be_over_before_it_ends(
    transactional: bool,
) -> None:
    """Whoever dispatches late could run while another process has taken over."""
    runs = []

    async def slow(event: Event) -> None:
        runs.append(event)

    async def slow_in_the_database(event: Event, uow: UnitOfWork) -> None:
        runs.append(event)

    handler = slow_in_the_database if transactional else slow
    latest = POLICY.lease_seconds if transactional else POLICY.begin_seconds
    application = on_made(handler)
    (claim,) = (await application.bus.execute(a_command())).claims
    late = replace(claim, leased_at=claim.leased_at - latest)

    report = await application.bus.run([late])

    assert runs == []
    assert [failure.retry_in for failure in report.failures] == [0.0]
    (again,) = await application.outbox.claim(10, [handler.__name__])
    assert again.attempt == 1


async def test_the_time_limit_counts_from_the_begin_of_the_handler() -> None:
    """What it has waited before is not its fault."""
    deadlines: list[float] = []

    async def looks(event: Event) -> None:
        deadlines.append(anyio.current_effective_deadline())

    async def looks_in_the_database(event: Event, uow: UnitOfWork) -> None:
        deadlines.append(anyio.current_effective_deadline())

    application = on_made(looks, looks_in_the_database, policy=PATIENT)
    claims = (await application.bus.execute(a_command())).claims
    late = [replace(claim, leased_at=claim.leased_at - 500) for claim in claims]

    await application.bus.run(late)

    now = anyio.current_time()
    assert deadlines == [pytest.approx(now + PATIENT.handler_timeout_seconds, abs=100)] * 2


async def test_who_is_stopped_by_the_end_of_its_lease_is_not_at_fault() -> None:
    """It waited for others before; nothing of it is stored, and the attempt does not count."""
    application = on_made(write_and_sleep, policy=PATIENT)
    (claim,) = (await application.bus.execute(a_command())).claims
    latest = PATIENT.lease_seconds - PATIENT.last_write_seconds
    late = replace(claim, leased_at=anyio.current_time() - latest + 0.2)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.run([late])

    assert [type(failure.error) for failure in report.failures] == [LeaseExpired]
    assert lines(application) == []
    (again,) = await application.outbox.claim(10, ["write_and_sleep"])
    assert again.attempt == 1


async def test_what_is_left_to_workers_is_available_at_once() -> None:
    """They need not wait until the lease of a process that is too busy ends."""
    application = on_made(sleeps)
    committed = await application.bus.execute(a_command())

    for claims in ((), committed.claims):
        await application.bus.release(claims)

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

    application = on_made(clumsy)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_command())

    (row,) = application.database.deliveries.values()
    assert row.last_error == "OSError: connection reset"
    assert row.available_at < application.database.clock + POLICY.lease_seconds


async def test_work_that_is_done_is_settled_also_when_cancelled_just_then() -> None:
    """Otherwise the e-mail would be sent twice."""

    async def sends(event: Event) -> None:
        scope.cancel()

    application = on_made(sends)
    with anyio.CancelScope() as scope:
        await application.bus.handle(a_command())

    assert application.database.deliveries == {}


class SettlesNothing(FakeOutbox):
    """An outbox in which others are writing all the time."""

    released = 0

    async def settle(self, delivery: Claim) -> None:
        await anyio.sleep_forever()

    async def release(self, claims: Collection[Claim]) -> None:
        self.released += len(claims)


def settling_nothing(handler: Handler[Any, Any]) -> tuple[FakeApplication, SettlesNothing]:
    application = on_made(handler, policy=replace(IMPATIENT, lease_seconds=4.0))
    outbox = application.outbox = SettlesNothing(application.database, application.policy)
    application.wire()
    return application, outbox


async def test_work_that_is_done_and_cannot_be_stored_in_its_lease_counts_as_a_failure() -> None:
    """Given back as if it had not begun, an e-mail would be sent again and again."""
    application, outbox = settling_nothing(works)

    with anyio.fail_after(LIMIT_SECONDS):
        report = await application.bus.handle(a_command())

    assert [type(failure.error) for failure in report.failures] == [NotCompleted]
    (row,) = application.database.deliveries.values()
    assert (row.attempts, row.held, outbox.released) == (1, False, 0)


async def test_work_that_is_done_is_not_given_back_by_a_cancellation() -> None:
    """Nor is it waited for: the lease ends by itself, and the attempt counts."""

    async def sends(event: Event) -> None:
        scope.cancel()

    application, outbox = settling_nothing(sends)
    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as scope:
        await application.bus.handle(a_command())

    (row,) = application.database.deliveries.values()
    assert (row.attempts, row.held, outbox.released) == (1, True, 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_last_write_survives_a_cancellation_by_asyncio_itself() -> None:
    """No scope protects from it, and servers and libraries do it."""

    class Cancelled(FakeOutbox):
        async def settle(self, delivery: Claim) -> None:
            if not cancelled:
                cancelled.append(delivery)
                asyncio.current_task().cancel()  # type: ignore[union-attr]
            await super().settle(delivery)

    cancelled: list[Claim] = []
    application = on_made(works)
    application.outbox = Cancelled(application.database, application.policy)
    application.wire()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(application.bus.handle(a_command()))

    assert application.database.deliveries == {}


async def test_a_delivery_that_was_taken_over_is_left_alone() -> None:
    """The late owner's work is rolled back, and is nobody's failure."""
    taken_over: list[Claim] = []

    async def late(event: ThingMade, uow: UnitOfWork) -> None:
        write(uow, event.name)
        application.database.clock += POLICY.lease_seconds + 1
        taken_over.extend(await application.outbox.claim(1, ["late"]))

    application = on_made(late)
    report = await application.bus.handle(a_command())

    assert [delivery.attempt for delivery in taken_over] == [2]
    assert report.failures == []
    assert lines(application) == []
    assert len(application.database.deliveries) == 1


async def test_who_fails_after_somebody_has_taken_over_says_no_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What comes of the delivery is the new owner's to say: it is not tried again for this one."""

    async def late(event: ThingMade) -> None:
        application.database.clock += POLICY.lease_seconds + 1
        await application.outbox.claim(1, ["late"])
        raise OSError("too late")

    application = on_made(late)
    report = await application.bus.handle(a_command())

    assert report.failures == []
    assert [row.last_error for row in application.database.deliveries.values()] == [None]
    assert "next attempt" not in caplog.text


async def stopped_in_a_handler(kind: type[FakeOutbox] = FakeOutbox) -> FakeApplication:
    """Return an application with this outbox, whose caller was cancelled while a handler ran."""

    async def interrupted(event: Event) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    application = on_made(interrupted)
    application.outbox = kind(application.database, POLICY)
    application.wire()
    with anyio.fail_after(LIMIT_SECONDS), anyio.CancelScope() as scope:
        await application.bus.handle(a_command())

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

    before = on_made(greet)
    (claim,) = (await before.bus.execute(a_command())).claims
    application = on_made(greet, renamed={"send_hello": "greet"})
    application.database = before.database
    application.wire()

    await application.bus.run([replace(claim, handler="send_hello")])

    assert keys == [f"{claim.envelope.id}:send_hello"]


class LosesItsDatabase(FakeOutbox):
    """An outbox that cannot store failures."""

    async def record_failure(self, failure: Failure) -> None:
        raise OSError("the database is gone")

    async def release(self, claims: Collection[Claim]) -> None:
        raise OSError("the database is gone")


async def test_a_failure_that_cannot_be_stored_is_still_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The row is as it was, so the delivery falls due when its lease ends."""
    application = on_made(fails)
    application.outbox = LosesItsDatabase(application.database, POLICY)
    application.wire()
    report = await application.bus.handle(a_command())

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

    async def release(self, claims: Collection[Claim]) -> None:
        await anyio.sleep_forever()


async def test_a_stopped_handler_does_not_wait_for_ever_for_its_last_word() -> None:
    """Shutting down has a limit, whatever the database does."""
    await stopped_in_a_handler(NeverAnswers)


async def test_a_failure_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Event, handler, attempt, error and next time: what an operator needs, greppable."""
    report = await on_made(fails).bus.handle(a_command())

    event_id = report.events[0].id
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"fails failed on ThingMade {event_id}, attempt 1: OSError: mail server is down; "
        "next attempt at 2026-01-01T00:00:01Z"
    ]


async def test_ids_lead_from_every_event_back_to_the_command() -> None:
    """One correlation id for the whole story; the causation id names the direct cause."""
    seen = {}

    async def follow(event: ThingRenamed) -> None:
        seen["follow"] = current_context.get()

    application = on_change(follow)
    correlation_id = uuid4()

    received = MessageOrigin(source="/shop", correlation_id=correlation_id)
    report = await application.bus.handle(a_command(), received)

    made, renamed = report.events
    assert made.context.correlation_id == correlation_id
    assert renamed.context.correlation_id == correlation_id
    assert renamed.context.causation_id == made.id
    assert renamed.context.handler == "change"
    assert seen["follow"] == MessageContext(
        correlation_id=correlation_id, causation_id=renamed.id, handler="follow", depth=3
    )
    assert current_context.get() is None


async def test_handlers_that_cause_each_other_for_ever_are_stopped() -> None:
    """Each event would begin a fresh lease, so nothing else would end them."""

    async def ping(event: ThingMade | ThingRenamed, uow: UnitOfWork) -> None:
        thing = await things_of(uow).get(event.thing_id)
        thing.record(ThingBroken(thing_id=thing.id))

    async def pong(event: ThingBroken, uow: UnitOfWork) -> None:
        thing = await things_of(uow).get(event.thing_id)
        thing.record(ThingRenamed(thing_id=thing.id, name="lamp"))

    application = FakeApplication(
        event_handlers={ThingMade: [ping], ThingRenamed: [ping], ThingBroken: [pong]}
    )
    result = await application.bus.handle(a_command())

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

    def command(self, envelope: CommandWork, seconds: float) -> AbstractContextManager[None]:
        return self.watch(envelope.name)

    def attempt(self, delivery: Claim, seconds: float) -> AbstractContextManager[None]:
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
    handler: Handler[Any, Any], error: type[Exception] | None, outcome: str
) -> None:
    """Of the command, and then of each delivery: with the error that is stored, if it has failed.

    Whoever counts what runs would otherwise count what has failed for ever.
    """
    recorder = Recorder()
    application = on_made(handler, policy=IMPATIENT, observers=[recorder])

    await application.bus.handle(a_command())

    assert recorder.seen[:3] == [
        ("begin", "MakeThing"),
        ("end", None),
        ("succeeded", "MakeThing"),
    ]
    begin, (end, raised), finished = recorder.seen[3:]
    assert (begin, end) == (("begin", handler.__name__), "end")
    assert type(raised) is (error or type(None))
    assert finished == (outcome, handler.__name__)


async def test_an_observer_sees_why_a_command_was_not_executed() -> None:
    """It leaves no row: who counts refusals has nothing else to count."""
    recorder = Recorder()
    application = FakeApplication(observers=[recorder])

    with pytest.raises(ThingNotFound) as refused:
        await application.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))

    assert recorder.seen == [("begin", "RenameThing"), ("end", refused.value)]


async def test_an_observer_works_in_the_task_that_runs_the_handler() -> None:
    """So it can set what the handler, and all it calls, will find."""
    found: list[str] = []
    ambient: ContextVar[str] = ContextVar("ambient")

    class Sets(Observer):
        @contextmanager
        def attempt(self, delivery: Claim, seconds: float) -> Iterator[None]:
            ambient.set("set by the observer")
            yield

    async def finds(event: Event) -> None:
        found.append(ambient.get("nothing"))

    await on_made(finds, observers=[Sets()]).bus.handle(a_command())

    assert found == ["set by the observer"]


async def test_an_observer_sees_lost_races() -> None:
    """They cost time, and somebody may want to know how much."""
    recorder = Recorder()
    handler, _ = losing(times=2)

    await with_command_handler(handler, observers=[recorder]).bus.handle(a_command())

    assert recorder.seen[1:3] == [("conflict", "MakeThing")] * 2


async def test_an_observer_sees_the_calls_to_external_systems() -> None:
    """Begin and end, within those of the attempt; and why one has failed."""
    recorder = Recorder()

    async def sends(
        event: ThingMade, notifications: EmailSender, idempotency_key: IdempotencyKey
    ) -> None:
        await notifications.send(announcement(event), idempotency_key=idempotency_key)

    application = on_made(sends, observers=[recorder])
    down = application.notifications.failures[RECIPIENT] = OSError("mail server is down")

    await application.bus.handle(a_command())

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

    await application.bus.run([late])

    (_, begun), (_, error), outcome = recorder.seen
    assert begun == late.handler
    assert isinstance(error, LeaseExpired)
    assert outcome == ("handed over", late.handler)


class Fails(Observer):
    """An observer that fails at the call, the begin, the end, or the outcome."""

    def __init__(self, moment: str, raised: BaseException) -> None:
        self._moment, self._raised = moment, raised

    def command(self, envelope: CommandWork, seconds: float) -> Self:
        return self.at("call")

    def attempt(self, delivery: Claim, seconds: float) -> Self:
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

    report = await application.bus.handle(a_command())

    assert report.failures == []
    assert application.database.deliveries == {}
    assert "an observer failed" in caplog.text
    begun = [name for what, name in recorder.seen if what == "begin"]
    assert len([what for what, _ in recorder.seen if what == "end"]) == len(begun)
    assert {*HANDLERS_OF_THING_MADE} < {*begun}


async def test_an_observer_cannot_swallow_an_error() -> None:
    """Then a handler that has failed would count as done."""
    application = FakeApplication(observers=[Fails("never", RuntimeError())])

    with pytest.raises(ThingNotFound):
        await application.bus.handle(RenameThing(thing_id=a_thing_id(), name="torch"))


async def test_the_trace_context_of_a_message_is_passed_on() -> None:
    """Where nobody makes spans, the traces of others are not cut."""
    application = on_change()
    theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    report = await application.bus.handle(
        a_command(), MessageOrigin(source="/shop", id="m1", traceparent=theirs)
    )

    assert [event.context.traceparent for event in report.events] == [theirs, theirs]


async def test_what_has_no_handler_in_this_process_is_left_to_another() -> None:
    """A port may not be configured here: that is no failed attempt, and no KeyError."""
    application = on_made(works)
    (claim,) = await make_some(application, 1)
    elsewhere = replace(application.bus, registry=replace(application.bus.registry, events={}))

    report = await elsewhere.run([claim])

    assert report.failures == []
    (again,) = await application.outbox.claim(10, ["works"])
    assert again.attempt == 1


async def test_what_is_left_to_another_holds_no_lease_of_the_rest_when_cancelled() -> None:
    """All of it is given back, whether it would have run here or there."""

    async def works_elsewhere(event: Event) -> None:
        raise AssertionError("not in this process")

    application = on_made(works, works_elsewhere)
    claims = await make_some(application, 1)
    known = {"works": application.bus.registry.events["works"]}
    here = replace(application.bus, registry=replace(application.bus.registry, events=known))

    with anyio.CancelScope() as scope:
        scope.cancel()
        await here.run(claims)

    again = await application.outbox.claim(10, ["works", "works_elsewhere"])
    assert [claim.attempt for claim in again] == [1, 1]


def asks_outside(answer: Command | None, called: list[IdempotencyKey]) -> Handler[Any, Any]:
    """Return a handler with an external effect, which returns what the outside has answered."""

    async def ask(event: ThingMade, idempotency_key: IdempotencyKey) -> RenameThing | None:
        called.append(idempotency_key)
        return answer  # type: ignore[return-value]

    return ask


def an_answer(command: MakeThing) -> RenameThing:
    return RenameThing(thing_id=command.thing_id, name=ANSWER)


def names(application: FakeApplication) -> list[str]:
    return [thing.name for thing in application.database.tables[Thing].values()]


async def test_the_answer_of_the_outside_is_stored_with_the_delivery() -> None:
    """The returned command is executed, recorded, and a part of the trace; its events follow."""
    called: list[IdempotencyKey] = []
    lamp = a_command()
    application = on_made(asks_outside(an_answer(lamp), called))

    first = await application.bus.execute(lamp)
    result = await application.bus.run(first.claims)

    [claim], [_, answer] = first.claims, application.database.commands
    assert result.failures == []
    assert names(application) == [ANSWER]
    assert (answer.settles, answer.origin.source) == (claim, "ask")
    assert answer.context.correlation_id == claim.context.correlation_id
    assert (answer.context.causation_id, answer.context.depth) == (answer.id, 2)
    assert application.database.deliveries == {}


async def test_no_answer_is_an_answer() -> None:
    """The delivery is done."""
    application = on_made(asks_outside(None, []))

    result = await application.bus.handle(a_command())

    assert result.failures == []
    assert application.database.deliveries == {}


async def test_an_answer_that_a_rule_refuses_is_parked_with_what_it_says() -> None:
    """The effect has happened: a person needs to know what the outside has said."""
    thing_id = a_thing_id()

    async def ask(event: ThingMade, notifications: EmailSender) -> RenameThing:
        return RenameThing(thing_id=thing_id, name="torch")

    application = on_made(ask)

    [failure] = (await application.bus.handle(a_command())).failures

    assert isinstance(failure.error, ThingNotFound)
    assert failure.retry_in is None
    assert failure.error.__notes__ == [
        f"ask had returned RenameThing(thing_id={thing_id!r}, name='torch')"
    ]


async def test_what_the_annotation_does_not_say_is_no_answer() -> None:
    """Nobody has checked at start that it can be stored."""
    application = on_made(asks_outside(a_command(), []))

    [failure] = (await application.bus.handle(a_command())).failures

    assert isinstance(failure.error, UnexpectedAnswer)
    assert still_owed(application) == ["ask"]


async def test_a_conflict_repeats_the_command_and_not_the_effect() -> None:
    """The outside has done its part: only what is stored of it has met with others."""
    called: list[IdempotencyKey] = []
    tries = count(1)

    async def store(command: RenameThing, uow: UnitOfWork) -> None:
        if next(tries) < MAX_CONFLICT_RETRIES:
            raise ConcurrentUpdate
        await rename_thing(command, uow)

    lamp = a_command()
    application = FakeApplication(
        event_handlers={ThingMade: [asks_outside(an_answer(lamp), called)]},
        command_handlers={**COMMANDS, RenameThing: store},
    )

    result = await application.bus.handle(lamp)

    assert result.failures == []
    assert names(application) == [ANSWER]
    assert len(called) == 1


async def test_an_answer_is_stored_once_however_often_the_outside_is_asked() -> None:
    """The next attempt has the same key; and who has lost the lease stores nothing."""
    called: list[IdempotencyKey] = []
    lamp = a_command()
    application = on_made(asks_outside(an_answer(lamp), called))
    first = (await application.bus.execute(lamp)).claims
    application.database.clock += POLICY.lease_seconds + 1
    second = await application.outbox.claim(10, ["ask"])

    late = await application.bus.run(first)
    assert (late.events, late.failures) == ([], [])
    assert names(application) == [lamp.name]
    await application.bus.run(second)

    assert len(called) == 2
    assert len(set(called)) == 1
    assert len(application.database.commands) == 2


async def test_an_answer_is_stored_though_the_caller_gives_up() -> None:
    """Whoever stops a process in the moment between does not lose what the outside has said."""
    scope = anyio.CancelScope()

    lamp = a_command()

    async def ask(event: ThingMade) -> RenameThing:
        scope.cancel()
        return an_answer(lamp)

    application = on_made(ask)
    committed = await application.bus.execute(lamp)

    with scope:
        await application.bus.run(committed.claims)

    assert scope.cancelled_caught
    assert names(application) == [ANSWER]
    assert application.database.deliveries == {}


async def test_what_is_for_later_is_left_to_workers() -> None:
    """The process that commits does not wait for it, and holds no lease."""
    application = on_made(Later(sleeps, after=lambda settings: settings.retry_max_seconds))

    result = await application.bus.handle(a_command())

    [row] = application.database.deliveries.values()
    assert result.failures == []
    assert (row.attempts, row.held) == (0, False)
    assert row.available_at == application.database.clock + POLICY.retry_max_seconds


async def test_an_unsubscribed_handler_does_what_is_stored_and_gets_nothing_new() -> None:
    """A release that removed it at once would leave deliveries that no process can run."""
    application = on_made(works)
    await application.bus.execute(a_command())
    application.event_handlers = {ThingMade: [Unsubscribed(works)]}
    application.wire()

    committed = await application.bus.execute(a_command())
    application.database.clock += POLICY.lease_seconds + 1
    stored = await application.outbox.claim(10, ["works"])
    await application.bus.run(stored)

    assert (len(committed.claims), len(stored)) == (0, 1)
    assert application.database.deliveries == {}
