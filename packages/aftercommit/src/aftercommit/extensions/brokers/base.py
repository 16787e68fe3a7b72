"""What RabbitMQ and Kafka have in common: publishing events, consuming commands, dead letters.

Many tasks publish events at the same time, over one connection. Dead letters have their own
connection and are sent one by one: a message that a broker refuses may end its connection, together
with everything in flight on it.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar

import anyio
from anyio import fail_after, get_cancelled_exc_class, move_on_after
from anyio.lowlevel import checkpoint

from aftercommit.envelopes import Envelope
from aftercommit.errors import Unavailable, has_kind, slug_of
from aftercommit.extensions.brokers.channel_names import Channels, Inlet
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    ConfirmTimeoutError,
    MessageRefusedError,
    QueueFull,
    TargetMissing,
)
from aftercommit.extensions.circuit_breaker import CircuitBreaker
from aftercommit.handler_containment import cancellation_requested

DELIVERY_LIMIT = 20  # RabbitMQ's own limit since version 4; restarts of a consumer count, too
MAX_DEAD_LETTER_BYTES = 10_000  # kept of a dead command that the broker does not accept as a whole

MAX_TARGET_BYTES = 255  # of a name: AMQP's limit; Kafka's is 249
IN_SHORT = 150  # characters

CONNECT_TIMEOUT = 5
CONFIRM_TIMEOUT = 5
CLOSE_TIMEOUT = 2

T = TypeVar("T")
Errors = tuple[type[Exception], ...]
Report = Callable[[str | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A received message, and how to acknowledge it.

    With `reject`, the broker itself moves it to the dead letters, if it can; no time limit applies.
    """

    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any] = field(default_factory=dict)  # kept in a dead letter, too
    key: str | None = None  # the routing key of RabbitMQ, or the key of Kafka
    place: str | None = None  # Kafka's: unique to this message
    undecodable: str | None = None  # why nothing is known of it but this
    ack: Callable[[], Awaitable[None]] = checkpoint
    reject: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingCommand:
    """A command for another service, and what is said about it outside its body."""

    to: str  # the queue, or topic
    id: str
    body: bytes
    traceparent: str | None = None
    correlation_id: str | None = None  # of an answer: tells its receiver which message it answers


class BrokerConnection(Protocol):
    """A connection for publishing, not yet open. `loss` is why it was lost, if known."""

    loss: BaseException | None

    async def start(self) -> None:
        """Open it."""

    async def close(self) -> None:
        """Close it."""

    async def publish(self, envelope: Envelope) -> None:
        """Send an event to everybody who listens, and return when it is confirmed."""

    async def send_command(self, command: OutgoingCommand) -> None:
        """Send a command to another service, and return when it is confirmed.

        :raises TargetMissing: if no queue or topic would keep it for that service
        """

    async def dead_letter(self, dead: ReceivedMessage, to: str) -> None:
        """Send a dead message to this queue, created if missing; return when it is confirmed."""


class SharedConnection:
    """The current connection, if any. All tasks share it, so their confirms overlap.

    It is hard to know what a library does with messages in flight while it reconnects (decision 9).
    So a connection on which a message fails is closed, and the messages in flight on it fail as if
    the broker were down. A message that the broker rejects for now, a target that is missing or
    wrong, or a cancelled task, does not close it. While the broker is known to be down, all tasks
    fail immediately. What concerns one message or one target is not taken for an outage.
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        away = partial(BrokerUnavailable, broker.kind)
        self._breaker = CircuitBreaker(away, outages=(BrokerUnavailable, ConfirmTimeoutError))
        self._opening = anyio.Lock(fast_acquire=True)  # while it is open, nobody waits for the lock
        self._connection: BrokerConnection | None = None

    async def send(self, deliver: Callable[[BrokerConnection], Awaitable[None]]) -> None:
        """Deliver a message, and return when the broker has confirmed it.

        :raises MessageRefusedError: if the broker refuses this message
        :raises QueueFull: if the broker rejects it for now
        :raises ConfirmTimeoutError: if the broker does not confirm it within a few seconds
        :raises BrokerUnavailable: if the broker is down, or was a moment ago
        """
        async with self._opening:
            if self._connection is None or self._connection.loss:
                with self._breaker.attempt():
                    self._connection = await self._open()
            connection = self._connection
        with self._breaker.attempt():
            await self._deliver(deliver, connection)

    async def close(self) -> None:
        """Close the connection; no task may be publishing on it."""
        if self._connection is not None:
            await close_best_effort(self._connection.close)

    async def _open(self) -> BrokerConnection:
        connection = self._broker.new_connection()
        try:
            with fail_after(CONNECT_TIMEOUT):
                await reject_spurious_cancellation(connection.start)
        except BaseException as error:
            await close_best_effort(connection.close)
            if isinstance(error, Exception):
                raise BrokerUnavailable(self._broker.kind, describe(error)) from error
            raise
        return connection

    async def _deliver(
        self, deliver: Callable[[BrokerConnection], Awaitable[None]], connection: BrokerConnection
    ) -> None:
        try:
            with fail_after(CONFIRM_TIMEOUT):
                await reject_spurious_cancellation(deliver, connection)
        except Exception as error:
            of_one_message = (*self._broker.rejections, TargetMissing, MessageRefusedError)
            if not isinstance(error, of_one_message):
                self._connection = None if self._connection is connection else self._connection
                await close_best_effort(connection.close)
            raise self._broker.meaning_of(error) from error


class Broker(ABC):
    """A message broker, with its connections."""

    kind: ClassVar[str]
    refusals: ClassVar[Errors]  # the library's errors that mean MessageRefusedError
    rejections: ClassVar[Errors]  # the ones that mean QueueFull

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self._events, self._dead_letters = SharedConnection(self), SharedConnection(self)
        self._commands = SharedConnection(self)
        self._dead_lettering = anyio.Lock()

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event.

        :raises Unavailable: if the broker is down, or a queue for the event is full
        :raises OSError: if the broker refuses the event, or does not confirm it in a few seconds
        """
        await self._events.send(lambda connection: connection.publish(envelope))

    async def send_command(self, command: OutgoingCommand) -> None:
        """Return when the broker has confirmed a command for another service.

        :raises Unavailable: if the broker is down, or has no queue or topic for it, or a full one
        :raises OSError: if the broker refuses it, or does not confirm it in a few seconds
        """
        require_target(self.kind, command.to)
        await self._commands.send(lambda connection: connection.send_command(command))

    async def connect(self) -> None:
        """Open the connection for events, so that a wrong login shows before the first event.

        :raises BrokerUnavailable: if the broker is down
        """
        await self._events.send(_send_nothing)

    async def dead_letter(self, message: ReceivedMessage, error: Exception, to: str) -> None:
        """Put a message that cannot be handled into the queue or topic for dead letters.

        If the broker does not accept the whole message, only its beginning is kept.

        :raises BrokerUnavailable: if the broker does not confirm that, for whatever reason
        """
        slug, sentence = reason_of(error)
        header = self.channels.header
        reason = {header("error"): slug, header("reason"): sentence}
        dead = replace(message, headers={**message.headers, **reason})

        async def send(what: ReceivedMessage) -> None:
            await self._dead_letters.send(lambda connection: connection.dead_letter(what, to))

        async with self._dead_lettering:
            try:
                try:
                    await send(dead)
                except MessageRefusedError as refusal:
                    reason[header("cut")] = f"{len(dead.body)} bytes; {one_line(refusal)}"
                    body = dead.body[:MAX_DEAD_LETTER_BYTES]
                    cut = replace(dead, body=body, headers=reason, properties={})
                    await send(cut)
            except (OSError, QueueFull) as failure:
                raise BrokerUnavailable(self.kind, describe(failure)) from failure

    async def close(self) -> None:
        """Close the connections for publishing."""
        async with anyio.create_task_group() as group:
            for each in (self._events, self._dead_letters, self._commands):
                group.start_soon(each.close)

    def meaning_of(self, error: Exception) -> Exception:
        """Return the error that tells why a message could not be sent."""
        if isinstance(error, (Unavailable, MessageRefusedError)):
            return error
        if isinstance(error, self.refusals):
            return MessageRefusedError(self.kind, describe(error))
        if isinstance(error, self.rejections):
            return QueueFull(self.kind, describe(error))
        if isinstance(error, TimeoutError):
            return ConfirmTimeoutError(self.kind, describe(error))
        return BrokerUnavailable(self.kind, describe(error))

    @abstractmethod
    def new_connection(self) -> BrokerConnection:
        """Return a connection for publishing, not yet open."""

    @abstractmethod
    def feeds(self, inlet: Inlet) -> bool:
        """Tell whether messages arrive at this inlet from a broker of this kind."""

    @abstractmethod
    def consume(
        self, inlet: Inlet, prefetch: int, report: Report
    ) -> AbstractAsyncContextManager[AsyncIterator[ReceivedMessage]]:
        """Open an iterator over arriving messages, with at most `prefetch` not acknowledged.

        When the context is entered, the broker begins to send. The iterator raises when the
        connection is lost; it may also end, and then has to be opened again. Meanwhile it calls
        `report` with what is wrong with the exchange of another service, or with None if nothing
        is.

        :raises SourceMissing: if another service's topic does not exist
        """


async def reject_spurious_cancellation(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Wrap calls to a library that cancels its own waiters when a connection is lost.

    :raises ConnectionError: in that case; only our own cancellations are passed on
    """
    try:
        return await function(*args)
    except get_cancelled_exc_class() as error:
        if cancellation_requested(error):
            raise
        raise ConnectionError("the connection was lost") from error


async def close_best_effort(close: Callable[[], Awaitable[None]]) -> None:
    """Close something within a time limit. It is broken or not needed, so errors do not matter."""
    with move_on_after(CLOSE_TIMEOUT, shield=True), suppress(Exception):
        await close()


def describe(error: BaseException) -> str:
    """Return what went wrong, in words, even if the library has none."""
    text = str(error).partition("\n")[0]
    if not text and isinstance(error, TimeoutError):
        return "it does not answer"
    return text or type(error).__name__


async def _send_nothing(connection: BrokerConnection) -> None:
    """Do nothing: opening the connection is all that is wanted."""


def reason_of(error: Exception) -> tuple[str, str]:
    """Return why a message is refused: a stable name, and a sentence in one line."""
    return slug_of(error) if has_kind(error) else "bug", one_line(error)


def require_target(kind: str, name: str) -> None:
    """Refuse a name that no queue and no topic can have, before a library breaks a connection.

    :raises MessageRefusedError: if it is empty, longer than AMQP's and Kafka's names, or illegible
    """
    if not (0 < len(name.encode(errors="replace")) <= MAX_TARGET_BYTES and name.isprintable()):
        raise MessageRefusedError(kind, f"no queue or topic can have the name {in_short(name)!r}")


def in_short(text: str) -> str:
    """Return at most some two lines of a text that others have sent, for logs and errors."""
    return text if len(text) <= IN_SHORT else f"{text[:IN_SHORT]}… ({len(text):,} characters)"


def text_of(header: object) -> str:
    """Return the value of a header as text, whatever type the broker has for it."""
    return header.decode(errors="replace") if isinstance(header, bytes) else str(header)


def one_line(error: Exception) -> str:
    """Return what went wrong in one line, which is no longer than a screen."""
    return " ".join(str(error).split())[:1000]
