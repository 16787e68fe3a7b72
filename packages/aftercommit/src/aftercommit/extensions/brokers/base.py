"""What RabbitMQ and Kafka have in common: publishing events, consuming commands, dead letters.

Many tasks publish events at a time, over one connection. Dead letters have a connection of their
own and go one by one: a message that a broker refuses may end its connection, with all that is in
flight on it.
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
    TargetMissing,
)
from aftercommit.extensions.circuit_breaker import CircuitBreaker
from aftercommit.handler_containment import cancellation_requested

DELIVERY_LIMIT = 20  # of RabbitMQ, its own since version 4; a consumer that is restarted counts
MAX_DEAD_LETTER_BYTES = 10_000  # of a dead command that the broker does not take as a whole

CONNECT_TIMEOUT = 5
CONFIRM_TIMEOUT = 5
CLOSE_TIMEOUT = 2

T = TypeVar("T")
Errors = tuple[type[Exception], ...]
Report = Callable[[str | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message as it came, and how to tell the broker that it is done with.

    `reject` has the broker move it to the dead letters itself, if it can, however long that takes.
    """

    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any] = field(default_factory=dict)  # what else a dead letter keeps
    key: str | None = None  # the routing key of RabbitMQ, or Kafka's key
    place: str | None = None  # of Kafka: what no other message has
    ack: Callable[[], Awaitable[None]] = checkpoint
    reject: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingCommand:
    """A command for another service, with what is said of it outside of its body."""

    to: str  # the queue, or topic
    id: str
    body: bytes
    traceparent: str | None = None
    correlation_id: str | None = None  # of an answer: what tells its receiver what it answers


class BrokerConnection(Protocol):
    """A connection to publish with, not yet open. `loss` is why it was lost, if that is known."""

    loss: BaseException | None

    async def start(self) -> None:
        """Open it."""

    async def close(self) -> None:
        """Close it."""

    async def publish(self, envelope: Envelope) -> None:
        """Send an event to all who listen, and return when it is confirmed."""

    async def send_command(self, command: OutgoingCommand) -> None:
        """Send a command to another service, and return when it is confirmed.

        :raises TargetMissing: if there is nothing that would keep it for that service
        """

    async def dead_letter(self, dead: ReceivedMessage, to: str) -> None:
        """Send a dead message to this queue, made if it is gone; return when it is confirmed."""


class SharedConnection:
    """The connection in use, if there is one: shared by all tasks, so their confirms overlap.

    What a library does with messages in flight while it reconnects is hard to know (decision 9). So
    a connection on which a message fails is closed; those in flight on it fail as if the broker
    were away. A message that the broker rejects for now changes nothing, nor does a cancelled task.
    While the broker is known to be away, all tasks fail immediately.
    """

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker
        away = partial(BrokerUnavailable, broker.kind)
        self._breaker = CircuitBreaker(away, outages=(BrokerUnavailable, ConfirmTimeoutError))
        self._opening = anyio.Lock(fast_acquire=True)  # when it is open, nobody waits for it
        self._connection: BrokerConnection | None = None

    async def send(self, deliver: Callable[[BrokerConnection], Awaitable[None]]) -> None:
        """Deliver a message, and return when the broker has confirmed it.

        :raises MessageRefusedError: if the broker refuses this message
        :raises ConfirmTimeoutError: if the broker does not confirm it within a few seconds
        :raises BrokerUnavailable: if the broker is away, or was a moment ago
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
            if not isinstance(error, (*self._broker.rejections, TargetMissing)):
                self._connection = None if self._connection is connection else self._connection
                await close_best_effort(connection.close)
            raise self._broker.meaning_of(error) from error


class Broker(ABC):
    """One broker."""

    kind: ClassVar[str]
    refusals: ClassVar[Errors]  # the library's errors that mean MessageRefusedError
    rejections: ClassVar[Errors]  # and those that mean ConfirmTimeoutError

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self._events, self._dead_letters = SharedConnection(self), SharedConnection(self)
        self._commands = SharedConnection(self)
        self._dead_lettering = anyio.Lock()

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event.

        :raises BrokerUnavailable: if the broker is away
        :raises OSError: if the broker refuses the event, or does not confirm it in a few seconds
        """
        await self._events.send(lambda connection: connection.publish(envelope))

    async def send_command(self, command: OutgoingCommand) -> None:
        """Return when the broker has confirmed a command for another service.

        :raises Unavailable: if the broker is down, or has no queue or topic for it
        :raises OSError: if the broker refuses it, or does not confirm it in a few seconds
        """
        await self._commands.send(lambda connection: connection.send_command(command))

    async def connect(self) -> None:
        """Open the connection for events, so that a wrong account shows before the first event.

        :raises BrokerUnavailable: if the broker is away
        """
        await self._events.send(_send_nothing)

    async def dead_letter(self, message: ReceivedMessage, error: Exception, to: str) -> None:
        """Put a message that cannot be handled where somebody will look for it.

        If the broker does not take it as it came, its beginning has to do.

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
                    reason[header("cut")] = f"{len(dead.body)} bytes; {_one_line(refusal)}"
                    body = dead.body[:MAX_DEAD_LETTER_BYTES]
                    cut = replace(dead, body=body, headers=reason, properties={})
                    await send(cut)
            except OSError as failure:
                raise BrokerUnavailable(self.kind, describe(failure)) from failure

    async def close(self) -> None:
        """Close the connections for publishing."""
        async with anyio.create_task_group() as group:
            for each in (self._events, self._dead_letters, self._commands):
                group.start_soon(each.close)

    def meaning_of(self, error: Exception) -> Exception:
        """Return what it means that a message could not be sent."""
        if isinstance(error, Unavailable):
            return error
        if isinstance(error, self.refusals):
            return MessageRefusedError(self.kind, describe(error))
        if isinstance(error, (TimeoutError, *self.rejections)):
            return ConfirmTimeoutError(self.kind, describe(error))
        return BrokerUnavailable(self.kind, describe(error))

    @abstractmethod
    def new_connection(self) -> BrokerConnection:
        """Return a connection to publish with, not yet open."""

    @abstractmethod
    def feeds(self, inlet: Inlet) -> bool:
        """Tell whether messages come in there from a broker of this kind."""

    @abstractmethod
    def consume(
        self, inlet: Inlet, prefetch: int, report: Report
    ) -> AbstractAsyncContextManager[AsyncIterator[ReceivedMessage]]:
        """Open the messages that arrive, with at most `prefetch` not acknowledged.

        When the context is entered, the broker sends what there is. The iterator raises when the
        connection is lost, and may end before: then open it again. Meanwhile it calls `report` with
        what is wrong with the exchange of others, or with None if nothing is.

        :raises SourceMissing: if there is no such topic of others
        """


async def reject_spurious_cancellation(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call a library that cancels its own waiters when a connection is lost.

    :raises ConnectionError: in that case; only a cancellation of ours passes as one
    """
    try:
        return await function(*args)
    except get_cancelled_exc_class() as error:
        if cancellation_requested(error):
            raise
        raise ConnectionError("the connection was lost") from error


async def close_best_effort(close: Callable[[], Awaitable[None]]) -> None:
    """Close something, but not for ever; it is broken or not needed, so no error matters."""
    with move_on_after(CLOSE_TIMEOUT, shield=True), suppress(Exception):
        await close()


def describe(error: BaseException) -> str:
    """Return what went wrong, in words, also if the library has none."""
    text = str(error).partition("\n")[0]
    if not text and isinstance(error, TimeoutError):
        return "it does not answer"
    return text or type(error).__name__


async def _send_nothing(connection: BrokerConnection) -> None:
    """Be satisfied with a connection."""


def reason_of(error: Exception) -> tuple[str, str]:
    """Return why a message is refused: a stable name, and a sentence in one line."""
    return slug_of(error) if has_kind(error) else "bug", _one_line(error)


def text_of(header: object) -> str:
    """Return the value of a header as text, whatever type the broker has for it."""
    return header.decode(errors="replace") if isinstance(header, bytes) else str(header)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
