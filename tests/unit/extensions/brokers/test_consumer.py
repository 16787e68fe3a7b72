"""The consumer, with a list as its broker: what is acknowledged, refused, tried again or left."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from aftercommit.claims import IdempotencyKey
from aftercommit.errors import ConcurrentUpdate, Defect
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.brokers.base import Broker, InboundMessage
from aftercommit.extensions.brokers.channels import Channels
from aftercommit.extensions.brokers.cloud_events import MAX_MESSAGE_BYTES
from aftercommit.extensions.brokers.consumer import Consumer
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable
from aftercommit.process.runtime import Shutdown
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.inbox import AcceptedCommand
from anyio import create_memory_object_stream

from allocation.domain.commands import Command, RegisterUser
from allocation.domain.users import UserNotFound
from allocation.service_layer.emails import Email
from allocation.service_layer.handlers import HANDLERS as TABLE
from allocation.service_layer.unit_of_work import UnitOfWork
from tests.builders import FakeApplication, a_user_message, from_cloud_event
from tests.fakes import FakeDatabase, FakeEmailSender

pytestmark = pytest.mark.anyio


CUT = b"cut"


@dataclass(eq=False)
class FakeBroker:
    """Hands out the messages it was given, and remembers what became of them."""

    kind: str = "Fake"
    channels: Channels = field(default_factory=lambda: Channels("allocation"))
    acknowledged: list[bytes] = field(default_factory=list)
    dead_lettered: list[tuple[bytes, str]] = field(default_factory=list)
    opened: int = 0
    lost: int = 0  # how many connections break at once
    silent: bool = False  # whether connecting takes for ever
    ack_error: BaseException | None = None
    dead_lettering_fails: int = 0
    moves_dead_letters: bool = False  # by itself, when a message is rejected
    rejected: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._send, self._receive = create_memory_object_stream[bytes](1000)

    def put(self, *bodies: bytes) -> None:
        for body in bodies:
            self._send.send_nowait(body)

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncGenerator[InboundMessage]]:
        if self.lost:
            self.lost -= 1
            raise ConnectionError("the broker is away")
        if self.silent:
            await anyio.sleep_forever()
        self.opened += 1
        yield self._messages()

    async def _messages(self) -> AsyncGenerator[InboundMessage]:
        while True:
            body = await self._receive.receive()
            if body == CUT:
                raise ConnectionError("it was cut")
            reject = partial(self._reject, body) if self.moves_dead_letters else None
            yield InboundMessage(body=body, headers={}, ack=self._ack_of(body), reject=reject)

    async def _reject(self, body: bytes) -> None:
        self.rejected.append(body)

    def cut(self) -> None:
        """Break the connection; another one can be made."""
        self.put(CUT)

    def _ack_of(self, body: bytes) -> Callable[[], Any]:
        async def ack() -> None:
            if self.ack_error:
                raise self.ack_error
            self.acknowledged.append(body)

        return ack

    async def dead_letter(self, message: InboundMessage, error: Exception) -> None:
        if self.dead_lettering_fails:
            self.dead_lettering_fails -= 1
            raise BrokerUnavailable(self.kind, "it is away")
        self.dead_lettered.append((message.body, type(error).__name__))

    def has_acknowledged(self, count: int) -> bool:
        return len(self.acknowledged) >= count

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
    max_dispatches: int = 20,
    hindrances: dict[object, str] | None = None,
) -> AsyncIterator[Shutdown]:
    """Run a consumer beside the test; it is told to stop with the context."""
    application = application or FakeApplication()
    stop = Shutdown()
    consumer = Consumer(
        application.bus,
        from_cloud_event,
        partial(accepted_in, application.database),
        BoundedDispatch(application.bus, max_dispatches),
        stop,
        {} if hindrances is None else hindrances,
        prefetch=5,
        max_attempts=3,
        first_pause=0.0,
    )
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(consumer.run, [cast("Broker", broker)])
            yield stop
            stop.set()


async def accepted_in(
    database: FakeDatabase, source: str, message_id: str | None
) -> AcceptedCommand | None:
    """Find a command as `views.accepted_command` does."""
    for envelope in database.commands:
        if (envelope.origin.source, envelope.origin.id) == (source, message_id):
            fingerprint = envelope.origin.fingerprint
            return AcceptedCommand(fingerprint, envelope.context.correlation_id)
    return None


async def handle_in_turn(broker: FakeBroker, *bodies: bytes) -> None:
    """Send each message when the one before is acknowledged."""
    for number, body in enumerate(bodies, 1):
        broker.put(body)
        await until(partial(broker.has_acknowledged, number))


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


class CannotHealError(Defect):
    """A statement that the database will never understand, for example."""

    retryable = False


@dataclass
class SilentEmailSender(FakeEmailSender):
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

    async def register_user(self, command: RegisterUser, uow: UnitOfWork) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        await TABLE.commands[RegisterUser](command, uow)


def an_application_with(handler: Failing) -> FakeApplication:
    handlers: dict[type[Command], Any] = {**TABLE.commands, RegisterUser: handler.register_user}
    return FakeApplication(command_handlers=handlers)


async def test_a_command_is_executed_acknowledged_and_its_events_dispatched(
    broker: FakeBroker,
) -> None:
    """The same as if it had come over the command line."""
    application = FakeApplication()
    async with consuming(broker, application):
        broker.put(a_user_message())
        await until(lambda: application.notifications.subjects_to("ivan@example.com"))

    assert len(broker.acknowledged) == 1
    assert application.notifications.subjects_to("ivan@example.com") == ["Welcome"]
    assert application.database.deliveries == {}


async def test_the_same_message_five_times_has_one_effect(broker: FakeBroker) -> None:
    """Each copy is acknowledged, or it would come for ever; serializers write as they like."""
    application = FakeApplication()
    copy = a_user_message(message_id="m1")
    message = json.loads(copy)
    respelled = {**message, "data": dict(reversed(message["data"].items()))}
    async with consuming(broker, application):
        broker.put(*[copy] * 4, json.dumps(respelled, indent=4).encode())
        await until(lambda: len(broker.acknowledged) == 5)

    assert len(application.database.registration_log) == 1
    assert len(application.database.commands) == 1
    assert broker.dead_lettered == []


async def test_a_repetition_is_not_refused_because_the_world_has_moved_on(
    broker: FakeBroker,
) -> None:
    """The user has another address now; the old message is a repetition, not a dead letter."""
    registration = a_user_message(message_id="m1")
    user_id = json.loads(registration)["data"]["user_id"]
    change = a_user_message(
        "change_email", message_id="m2", user_id=user_id, new_email="ivan@example.org"
    )
    async with consuming(broker):
        await handle_in_turn(broker, registration, change, registration)

    assert broker.dead_lettered == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{bad", "InvalidPayload"),
        (b"\xff\x00", "InvalidPayload"),
        (b"", "InvalidPayload"),
        (b"[" * 60_000, "InvalidPayload"),
        (b"x" * (MAX_MESSAGE_BYTES + 1), "MessageTooLarge"),
        (a_user_message(name="a" + "\u0315" * 32_000 + "\u0300" * 32_000), "MessageTooLarge"),
        (b'{"specversion": "0.3"}', "InvalidPayload"),
        (a_user_message("fly"), "UnknownCommandType"),
        (a_user_message(user_id=7), "InvalidPayload"),
        (a_user_message(name=" "), "InvalidValue"),
        (a_user_message(message_id=""), "InvalidPayload"),
        (a_user_message("change_email", new_email="a@b.example"), "UserNotFound"),
        (a_user_message("add_coupon_batch", reference="A", quantity=10**30), "InvalidValue"),
    ],
)
async def test_what_can_never_work_is_dead_lettered_and_good_ones_flow_on(
    broker: FakeBroker, body: bytes, error: str
) -> None:
    """With its reason, where somebody will look; then it is acknowledged."""
    good = a_user_message(message_id="good")
    async with consuming(broker):
        broker.put(body, good)
        await until(lambda: len(broker.acknowledged) == 2)

    assert [name for _, name in broker.dead_lettered] == [error]
    assert set(broker.acknowledged) == {body, good}


AWAY, MISTAKE = DatabaseUnavailable("it is locked"), ZeroDivisionError()


@pytest.mark.parametrize(
    "errors", [[AWAY] * 40, [ConcurrentUpdate()] * 40, [*[AWAY] * 20, MISTAKE, MISTAKE]]
)
async def test_what_may_work_later_is_tried_again_however_often(
    broker: FakeBroker, errors: list[Exception]
) -> None:
    """It is neither acknowledged before it worked, nor dead-lettered: waiting is no mistake."""
    handler = Failing(*errors)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_user_message())
        await until(lambda: broker.acknowledged)

    assert not handler.errors
    assert broker.dead_lettered == []


@pytest.mark.parametrize(
    ("error", "attempts"), [(MISTAKE, 3), (CannotHealError(), 1), (UserNotFound("u1"), 1)]
)
async def test_what_does_not_heal_is_dead_lettered_with_its_reason(
    broker: FakeBroker, error: Exception, attempts: int
) -> None:
    """A mistake in the program after the last attempt: it would hold up what comes after it."""
    handler = Failing(*[error] * 3)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_user_message())
        await until(lambda: broker.acknowledged)

    assert handler.calls == attempts
    assert [name for _, name in broker.dead_lettered] == [type(error).__name__]


@pytest.mark.parametrize(
    ("anyio_backend", "error", "reason"),
    [
        ("asyncio", ConnectionError("too late"), "too late"),
        ("trio", ConnectionError("too late"), "too late"),
        ("asyncio", BrokenPipeError(), "BrokenPipeError"),
        ("asyncio", asyncio.CancelledError(), "the connection was lost"),  # made up by a library
    ],
)
async def test_an_acknowledgement_that_is_lost_harms_nobody(
    broker: FakeBroker, error: BaseException, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker sends the message again, and it is recognized; why is logged."""
    broker.ack_error = error
    application = FakeApplication()
    message = a_user_message()
    async with consuming(broker, application):
        broker.put(message)
        await until(lambda: "acknowledged" in caplog.text)
        broker.ack_error = None
        broker.put(message)
        await until(lambda: broker.acknowledged)

    assert f"could not be acknowledged, it will come again: {reason}" in caplog.text
    assert broker.dead_lettered == []
    assert len(application.database.registration_log) == 1


async def test_another_command_under_an_id_that_was_used_is_a_dead_letter(
    broker: FakeBroker,
) -> None:
    """The sender believes that it was done; acknowledged in silence, nobody would ever know."""
    first, other = a_user_message(), a_user_message(name="Мария")
    async with consuming(broker):
        await handle_in_turn(broker, first, first, other)

    assert broker.dead_lettered == [(other, "MessageIdReused")]


async def test_a_process_is_not_ready_while_nothing_is_consumed(broker: FakeBroker) -> None:
    """Messages that others send meanwhile wait, or are lost if there is no queue."""
    hindrances: dict[object, str] = {}
    broker.lost = 10**9
    async with consuming(broker, hindrances=hindrances):
        await until(lambda: hindrances)
        assert list(hindrances.values()) == ["nothing is consumed from Fake"]
        broker.lost = 0
        broker.put(a_user_message())
        await until(lambda: broker.acknowledged)
        assert not hindrances
        broker.lost = 10**9
        broker.cut()
        await until(lambda: hindrances)


async def test_what_cannot_be_dead_lettered_yet_is_kept_and_disturbs_nobody(
    broker: FakeBroker,
) -> None:
    """The dead letters may be away, while other messages can be handled."""
    broker.dead_lettering_fails = 4
    handler = Failing(*[MISTAKE] * 3)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_user_message(message_id="m1"))
        await until(lambda: not handler.errors)
        broker.put(b"{bad", a_user_message(message_id="m2"))
        await until(lambda: len(broker.acknowledged) == 3)

    assert {name for _, name in broker.dead_lettered} == {"ZeroDivisionError", "InvalidPayload"}


async def test_what_the_broker_can_dead_letter_by_itself_takes_no_hand_when_it_refuses_ours(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A full queue of dead letters: a few of them would be all that may be in flight."""
    broker.dead_lettering_fails, broker.moves_dead_letters = 10**6, True
    async with consuming(broker):
        broker.put(b"{bad")
        await until(lambda: broker.rejected)
        broker.put(a_user_message())
        await until(lambda: broker.acknowledged)

    assert (broker.rejected, broker.dead_lettered) == ([b"{bad"], [])
    assert len(broker.acknowledged) == 1
    assert "a message is left to Fake to dead-letter (Fake is not available" in caplog.text
    assert "invalid payload of a command" in caplog.text  # the dead letter does not say it


async def test_a_broker_that_does_not_answer_does_not_hold_up_the_end(broker: FakeBroker) -> None:
    """Nothing is in hand, so there is nothing to wait for."""
    broker.silent = True
    async with consuming(broker):
        await anyio.wait_all_tasks_blocked()


async def test_what_commands_have_caused_takes_no_hand_and_is_bounded(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """A mail server that says nothing must not hold up the queue; what is too much is left."""
    caplog.set_level("INFO", "aftercommit")
    notifications = SilentEmailSender()
    application = FakeApplication(notifications=notifications)
    messages = [a_user_message(message_id=f"m{n}", email=f"u{n}@example.com") for n in range(200)]
    async with consuming(broker, application, max_dispatches=3) as stop:
        broker.put(*messages)
        await until(lambda: len(broker.acknowledged) == 200)
        await anyio.wait_all_tasks_blocked()
        assert notifications.connections == 3
        stop.set()
        notifications.speaks.set()

    assert len(notifications.sent) == 3
    assert caplog.text.count("the rest is left to workers") == 1
    left = application.database.deliveries.values()
    assert {row.attempts for row in left} == {0}
    assert max(row.available_at for row in left) <= application.database.clock


async def test_a_message_that_waits_does_not_hold_up_a_broker_that_comes_back(
    broker: FakeBroker,
) -> None:
    """It comes again over the new connection."""
    handler = Failing(*[AWAY] * 10**6)
    async with consuming(broker, an_application_with(handler)):
        broker.put(a_user_message())
        await until(lambda: handler.calls > 2)
        broker.cut()
        await until(lambda: broker.opened == 2)
        handler.errors.clear()
        broker.put(a_user_message())
        await until(lambda: broker.acknowledged)


async def test_a_message_in_hand_when_the_shift_ends_is_left_to_the_broker(
    broker: FakeBroker,
) -> None:
    """What cannot be done now is for the next process; nobody waits for the database to return."""
    handler = Failing(*[AWAY] * 10**6)
    async with consuming(broker, an_application_with(handler)) as stop:
        broker.put(a_user_message())
        await until(lambda: handler.calls > 2)
        stop.set()

    assert (broker.acknowledged, broker.dead_lettered) == ([], [])
