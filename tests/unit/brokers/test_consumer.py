"""The consumer, with a list as its broker: what is acknowledged, refused, tried again or left."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from anyio import create_memory_object_stream

from allocation.adapters.brokers import Broker, Incoming
from allocation.adapters.brokers.exceptions import BrokerUnavailable
from allocation.adapters.exceptions import DatabaseUnavailable
from allocation.domain.commands import Command, RegisterUser
from allocation.domain.exceptions import Mistake, UserNotFound
from allocation.entrypoints.brokers.consumer import Consumer
from allocation.entrypoints.running import StopSignal
from allocation.service_layer.delivery import IdempotencyKey
from allocation.service_layer.emails import Email
from allocation.service_layer.exceptions import ConcurrentUpdate
from allocation.service_layer.handlers import COMMAND_HANDLERS
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import FakeApplication, a_message
from tests.fakes import FakeNotifications

pytestmark = pytest.mark.anyio


CUT = b"cut"


@dataclass
class FakeBroker:
    """Hands out the messages it was given, and remembers what became of them."""

    kind: str = "Fake"
    ack_covers_earlier: bool = False
    acknowledged: list[bytes] = field(default_factory=list)
    dead_lettered: list[tuple[bytes, str]] = field(default_factory=list)
    in_hand: int = 0
    most_in_hand: int = 0
    opened: int = 0
    lost: int = 0  # how many connections break at once
    silent: bool = False  # whether connecting takes for ever
    ack_fails: bool = False
    dead_lettering_fails: int = 0

    def __post_init__(self) -> None:
        self._send, self._receive = create_memory_object_stream[bytes](1000)

    def put(self, *bodies: bytes) -> None:
        for body in bodies:
            self._send.send_nowait(body)

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncGenerator[Incoming]]:
        if self.lost:
            self.lost -= 1
            raise ConnectionError("the broker is away")
        if self.silent:
            await anyio.sleep_forever()
        self.opened += 1
        yield self._messages()

    async def _messages(self) -> AsyncGenerator[Incoming]:
        while True:
            body = await self._receive.receive()
            if body == CUT:
                raise ConnectionError("it was cut")
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)
            yield Incoming(body=body, headers={}, ack=self._ack_of(body))

    def cut(self) -> None:
        """Break the connection; another one can be made."""
        self.put(CUT)

    def _ack_of(self, body: bytes) -> Callable[[], Any]:
        async def ack() -> None:
            self.in_hand -= 1
            if self.ack_fails:
                raise ConnectionError("too late")
            self.acknowledged.append(body)

        return ack

    async def dead_letter(self, message: Incoming, error: Exception) -> None:
        if self.dead_lettering_fails:
            self.dead_lettering_fails -= 1
            raise BrokerUnavailable(self.kind, "it is away")
        self.dead_lettered.append((message.body, type(error).__name__))

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@pytest.fixture
def broker() -> Any:
    broker = FakeBroker()
    yield broker
    broker.close()


@asynccontextmanager
async def consuming(
    broker: FakeBroker,
    application: FakeApplication | None = None,
    *,
    prefetch: int = 5,
    concurrency: int = 20,
) -> AsyncIterator[StopSignal]:
    """Run a consumer beside the test; it is told to stop with the context."""
    application = application or FakeApplication()
    stop = StopSignal()
    brokers = [cast("Broker[Any]", broker)]
    work = Consumer(
        application.bus,
        brokers,
        stop,
        prefetch=prefetch,
        concurrency=concurrency,
        max_attempts=3,
        first_pause=0.0,
    )
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(work.run)
            yield stop
            stop.set()


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


class CannotHealError(Mistake):
    """A statement that the database will never understand, for example."""

    heals = False


@dataclass
class SilentNotifications(FakeNotifications):
    """A mail server that says nothing, until it does."""

    speaks: anyio.Event = field(default_factory=anyio.Event)
    connections: int = 0

    async def send(self, email: Email, *, idempotency_key: IdempotencyKey) -> None:
        self.connections += 1
        await self.speaks.wait()
        await super().send(email, idempotency_key=idempotency_key)


class Failing:
    """A handler that raises these errors, one each time, before it does its work."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.may_go_on = anyio.Event()
        self.may_go_on.set()

    async def __call__(self, command: RegisterUser, uow: UnitOfWork) -> None:
        self.calls += 1
        await self.may_go_on.wait()
        if self.errors:
            raise self.errors.pop(0)
        await COMMAND_HANDLERS[RegisterUser](command, uow)


def an_application_with(handler: Failing) -> FakeApplication:
    async def register_user(command: RegisterUser, uow: UnitOfWork) -> None:
        await handler(command, uow)

    handlers: dict[type[Command], Any] = {**COMMAND_HANDLERS, RegisterUser: register_user}
    return FakeApplication(command_handlers=handlers)


async def test_a_command_is_executed_acknowledged_and_its_events_dispatched(
    broker: FakeBroker,
) -> None:
    """The same as if it had come over the command line."""
    application = FakeApplication()
    async with consuming(broker, application):
        broker.put(a_message())
        await until(lambda: application.notifications.subjects_to("ivan@example.com"))

    assert len(broker.acknowledged) == 1
    assert application.notifications.subjects_to("ivan@example.com") == ["Welcome, Иван"]
    assert application.database.deliveries == {}


async def test_the_same_message_five_times_has_one_effect(broker: FakeBroker) -> None:
    """Each copy is acknowledged, or it would come for ever."""
    application = FakeApplication()
    copy = a_message(message_id="m1")
    async with consuming(broker, application):
        broker.put(*[copy] * 5)
        await until(lambda: len(broker.acknowledged) == 5)

    assert len(application.database.registration_log) == 1
    assert len(application.database.commands) == 1


async def test_a_repetition_is_not_refused_because_the_world_has_moved_on(
    broker: FakeBroker,
) -> None:
    """The user has another address now; the old message is a repetition, not a dead letter."""
    registration = json.loads(a_message(message_id="m1"))
    user_id = registration["data"]["user_id"]
    change = a_message(
        "change_email", message_id="m2", user_id=user_id, new_email="ivan@example.org"
    )
    async with consuming(broker):
        for body in (json.dumps(registration).encode(), change, json.dumps(registration).encode()):
            before = len(broker.acknowledged)
            broker.put(body)
            await until(lambda: len(broker.acknowledged) > before)  # noqa: B023

    assert broker.dead_lettered == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{bad", "InvalidPayload"),
        (b"\xff\x00", "InvalidPayload"),
        (b"", "InvalidPayload"),
        (b"[" * 100_000, "InvalidPayload"),
        (b"x" * 5_000_000, "InvalidPayload"),
        (b'{"specversion": "0.3"}', "InvalidPayload"),
        (a_message("fly"), "UnknownCommandType"),
        (a_message(user_id=7), "InvalidPayload"),
        (a_message(name=" "), "InvalidValue"),
        (a_message(message_id=""), "InvalidPayload"),
        (a_message("change_email", new_email="a@b.example"), "UserNotFound"),
        (a_message("add_coupon_batch", reference="A", quantity=10**30), "InvalidValue"),
    ],
)
async def test_what_can_never_work_is_dead_lettered_and_good_ones_flow_on(
    broker: FakeBroker, body: bytes, error: str
) -> None:
    """With its reason, where somebody will look; then it is acknowledged."""
    good = a_message(message_id="good")
    async with consuming(broker):
        broker.put(body, good)
        await until(lambda: len(broker.acknowledged) == 2)

    assert [name for _, name in broker.dead_lettered] == [error]
    assert set(broker.acknowledged) == {body, good}


@pytest.mark.parametrize("error", [DatabaseUnavailable("it is locked"), ConcurrentUpdate()])
async def test_what_may_work_later_is_tried_again_however_often(
    broker: FakeBroker, error: Exception
) -> None:
    """It is neither acknowledged before it worked, nor dead-lettered."""
    handler = Failing(*[error] * 40)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message())
        await until(lambda: broker.acknowledged)

    assert not handler.errors
    assert broker.dead_lettered == []


async def test_a_mistake_in_the_program_is_dead_lettered_after_the_last_attempt(
    broker: FakeBroker,
) -> None:
    """It would fail for ever, and hold up what comes after it."""
    handler = Failing(*[ZeroDivisionError()] * 3)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message())
        await until(lambda: broker.acknowledged)

    assert handler.calls == 3
    assert [name for _, name in broker.dead_lettered] == ["ZeroDivisionError"]


@pytest.mark.parametrize("error", [CannotHealError(), UserNotFound("u1")])
async def test_what_does_not_heal_is_dead_lettered_at_once_with_its_reason(
    broker: FakeBroker, error: Exception
) -> None:
    """Also if the program, and not the message, is what is wrong: time does not mend it."""
    handler = Failing(*[error] * 3)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message())
        await until(lambda: broker.acknowledged)

    assert handler.calls == 1
    assert [name for _, name in broker.dead_lettered] == [type(error).__name__]


async def test_a_message_that_cannot_be_dead_lettered_yet_is_not_acknowledged(
    broker: FakeBroker,
) -> None:
    """The dead letters may be on a broker that is away at the moment."""
    broker.dead_lettering_fails = 4
    async with consuming(broker):
        broker.put(b"{bad")
        await until(lambda: broker.acknowledged)

    assert broker.dead_lettering_fails == 0
    assert len(broker.dead_lettered) == 1


async def test_an_acknowledgement_that_is_lost_harms_nobody(broker: FakeBroker) -> None:
    """The broker sends the message again, and it is recognized."""
    broker.ack_fails = True
    application = FakeApplication()
    message = a_message()
    async with consuming(broker, application):
        broker.put(message)
        await until(lambda: application.database.registration_log)
        broker.ack_fails = False
        broker.put(message)
        await until(lambda: broker.acknowledged)

    assert broker.acknowledged == [message]
    assert broker.dead_lettered == []
    assert len(application.database.registration_log) == 1


async def test_waiting_does_not_count_as_a_mistake(broker: FakeBroker) -> None:
    """Or the first mistake after a long outage would be fatal to the message."""
    away, mistake = DatabaseUnavailable("it is away"), ZeroDivisionError()
    handler = Failing(*[away] * 20, mistake, mistake)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message())
        await until(lambda: broker.acknowledged)

    assert not handler.errors
    assert broker.dead_lettered == []


async def test_a_mistake_that_cannot_be_dead_lettered_yet_disturbs_nobody(
    broker: FakeBroker,
) -> None:
    """The dead letters may be away, while other messages can be handled."""
    broker.dead_lettering_fails = 4
    handler = Failing(*[ZeroDivisionError()] * 3)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message(message_id="m1"))
        await until(lambda: not handler.errors)
        broker.put(a_message(message_id="m2"))
        await until(lambda: len(broker.acknowledged) == 2)

    assert [name for _, name in broker.dead_lettered] == ["ZeroDivisionError"]


async def test_a_broker_that_goes_away_is_waited_for(broker: FakeBroker) -> None:
    """However often."""
    broker.lost = 5
    async with consuming(broker):
        broker.put(a_message())
        await until(lambda: broker.acknowledged)


async def test_a_broker_that_does_not_answer_does_not_hold_up_the_end(broker: FakeBroker) -> None:
    """Nothing is in hand, so there is nothing to wait for."""
    broker.silent = True
    async with consuming(broker):
        await anyio.wait_all_tasks_blocked()


async def test_no_more_messages_are_in_hand_than_allowed(broker: FakeBroker) -> None:
    """The rest is left to the broker, or to other consumers."""
    handler = Failing()
    async with consuming(broker, an_application_with(handler), prefetch=3):
        handler.may_go_on = anyio.Event()
        broker.put(*[a_message(message_id=f"m{n}", email=f"u{n}@example.com") for n in range(20)])
        await until(lambda: broker.in_hand == 3)
        await anyio.wait_all_tasks_blocked()
        assert broker.in_hand == 3
        handler.may_go_on.set()
        await until(lambda: len(broker.acknowledged) == 20)

    assert broker.most_in_hand == 3


async def test_what_commands_have_caused_takes_no_hand_and_is_bounded(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A mail server that says nothing must not hold up the queue; what is too much is left."""
    caplog.set_level("INFO", "allocation")
    notifications = SilentNotifications()
    application = FakeApplication(notifications=notifications)
    messages = [a_message(message_id=f"m{n}", email=f"u{n}@example.com") for n in range(200)]
    async with consuming(broker, application, prefetch=5, concurrency=3) as stop:
        broker.put(*messages)
        await until(lambda: len(broker.acknowledged) == 200)
        await anyio.wait_all_tasks_blocked()
        assert notifications.connections == 3
        stop.set()
        notifications.speaks.set()

    assert len(notifications.sent) == 3
    assert caplog.text.count("some is left to workers") == 1
    left = application.database.deliveries.values()
    assert {row.attempts for row in left} == {0}
    assert max(row.due_at for row in left) <= application.database.clock


async def test_where_an_acknowledgement_covers_all_before_it_messages_go_ack_covers_earlier(
    broker: FakeBroker,
) -> None:
    """A later one would acknowledge an earlier one that still fails."""
    broker.ack_covers_earlier = True
    async with consuming(broker):
        broker.put(*[a_message(message_id=f"m{n}", email=f"u{n}@example.com") for n in range(5)])
        await until(lambda: len(broker.acknowledged) == 5)

    assert broker.most_in_hand == 1


async def test_a_message_that_waits_does_not_hold_up_a_broker_that_comes_back(
    broker: FakeBroker,
) -> None:
    """It comes again over the new connection."""
    handler = Failing(*[DatabaseUnavailable("it is away")] * 10**6)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_message())
        await until(lambda: handler.calls > 2)
        broker.cut()
        await until(lambda: broker.opened == 2)
        handler.errors.clear()
        broker.put(a_message())
        await until(lambda: broker.acknowledged)


async def test_a_message_in_hand_when_the_shift_ends_is_left_to_the_broker(
    broker: FakeBroker,
) -> None:
    """What cannot be done now is for the next process; nobody waits for the database to return."""
    handler = Failing(*[DatabaseUnavailable("it is away")] * 10**6)
    async with consuming(broker, an_application_with(handler)) as stop:
        broker.put(a_message())
        await until(lambda: handler.calls > 2)
        stop.set()

    assert (broker.acknowledged, broker.dead_lettered) == ([], [])
