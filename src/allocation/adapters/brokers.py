"""Message brokers, by FastStream: what RabbitMQ and Kafka have in common.

A connection to publish with is made when it is first needed, and one that has failed is not used
again: what a library's own reconnecting does with messages in flight is hard to know. While a
broker is away, publishing fails at once, for a second or for as long as it took to find out, so
that nobody waits for it who has other work to do. Consumers leave reconnecting to the library: what
is in flight there is not acknowledged, and comes again.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import anyio
from anyio import current_time, fail_after, get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled

from allocation.domain.exceptions import AllocationError, BrokerUnavailable, InvalidValue
from allocation.service_layer.delivery import Envelope

EVENTS = "allocation.events"  # the exchange, or topic
COMMANDS = "allocation.commands"  # the queue, or topic
DEAD_COMMANDS = "allocation.commands.dead"

CONNECT_SECONDS = 5
CONFIRM_SECONDS = 5
PAUSE_SECONDS = 1
CLOSE_SECONDS = 2
KEPT_BYTES = 10_000  # of a dead command that the broker does not take as a whole

T = TypeVar("T")


class Connection(Protocol):
    """What FastStream calls a broker."""

    async def connect(self) -> Any:
        """Open it."""

    async def stop(self) -> None:
        """Close it."""


C = TypeVar("C", bound=Connection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message as it came, and how to tell the broker that it is done with."""

    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any] = field(default_factory=dict)  # others; which, is the broker's
    ack: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to send: an event to all who listen, or a dead command to its queue."""

    target: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)


class Undeliverable(BrokerUnavailable):
    """The broker will never take this message as it is."""


class Broker(ABC, Generic[C]):
    """One broker, and at most one connection `C` to publish with."""

    kind: ClassVar[str]
    ack_covers_earlier: ClassVar[bool] = False  # then messages have to be handled one by one
    refusals: ClassVar[tuple[type[Exception], ...]]  # the library's errors that mean Undeliverable

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = anyio.Lock()
        self._connection: C | None = None
        self._failure = ""
        self._failed_until = 0.0

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event.

        :raises BrokerUnavailable: if it does not, in a few seconds
        """
        await self._send(self._as_message(envelope))

    async def bury(self, message: Incoming, error: Exception) -> None:
        """Put a message that cannot be handled where somebody will look for it.

        If the broker does not take it as it came, its beginning has to do.

        :raises BrokerUnavailable: if the broker does not confirm that, in a few seconds
        """
        slug = error.slug if isinstance(error, AllocationError) else "bug"
        reason = {"allocation-error": slug, "allocation-reason": _one_line(error)}
        dead = Outgoing(
            target=DEAD_COMMANDS,
            body=message.body,
            headers={**message.headers, **reason},
            properties=message.properties,
        )
        try:
            await self._send(dead)
        except Undeliverable as refusal:
            reason["allocation-cut"] = f"{len(message.body)} bytes; {_one_line(refusal)}"
            beginning = message.body[:KEPT_BYTES]
            await self._send(Outgoing(target=DEAD_COMMANDS, body=beginning, headers=reason))

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncGenerator[Incoming]]:
        """Open the commands that arrive, with at most `prefetch` not acknowledged.

        The iterator may end, or raise, when the connection is lost for good.
        """
        connection, subscriber = self._new_subscriber(prefetch)
        try:
            await self._prepare(connection)
            await subscriber.start()
            async with aclosing(aiter(subscriber)) as messages:
                yield (self._as_it_came(message) async for message in messages)
        finally:
            await close_quietly(connection.stop)

    async def close(self) -> None:
        """Close the connection for publishing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_quietly(connection.stop)

    @abstractmethod
    def _as_message(self, envelope: Envelope) -> Outgoing:
        """Return the message that tells others of an event, addressed as this broker does."""

    @abstractmethod
    def _as_it_came(self, message: Any) -> Incoming:
        """Return what FastStream has received, with nothing decoded."""

    @abstractmethod
    def _new_subscriber(self, prefetch: int) -> tuple[C, Any]:
        """Return a connection, not yet open, and FastStream's subscriber to the commands on it."""

    @abstractmethod
    async def _prepare(self, connection: C) -> None:
        """Open a connection, and see to it that there is a place for dead commands."""

    @abstractmethod
    async def _connect(self) -> C:
        """Return a new connection to publish with, with all there has to be at its other end."""

    @abstractmethod
    async def _deliver(self, connection: C, message: Outgoing) -> None:
        """Send a message, and return when it is confirmed."""

    async def _send(self, message: Outgoing) -> None:
        connection, started = await self._open(), current_time()
        try:
            with fail_after(CONFIRM_SECONDS):
                await _lost_if_cancelled(self._deliver, connection, message)
        except self.refusals as error:
            await self._give_up(connection)
            raise Undeliverable(self.kind, describe(error)) from error
        except Exception as error:
            await self._give_up(connection)
            self._remember(error, started)
            raise BrokerUnavailable(self.kind, self._failure) from error
        except get_cancelled_exc_class():
            await self._give_up(connection)  # it may have been about to fail
            raise

    async def _open(self) -> C:
        async with self._lock:
            if self._connection is None:
                if current_time() < self._failed_until:
                    raise BrokerUnavailable(self.kind, self._failure)
                started = current_time()
                try:
                    with fail_after(CONNECT_SECONDS):
                        self._connection = await _lost_if_cancelled(self._connect)
                except Exception as error:
                    self._remember(error, started)
                    raise BrokerUnavailable(self.kind, self._failure) from error
            return self._connection

    async def _give_up(self, connection: C) -> None:
        if self._connection is connection:
            await self.close()

    def _remember(self, error: Exception, started: float) -> None:
        """Let others fail at once for a while: as long as it took to find out, or a second."""
        now = current_time()
        self._failure = describe(error)
        self._failed_until = now + max(PAUSE_SECONDS, now - started)


def new_brokers(urls: Sequence[str]) -> dict[str, "Broker[Any]"]:
    """Return a broker for each URL, by name: `rabbitmq`, `kafka`, and `kafka_2` if there are two.

    Importing FastStream takes a third of a second, so that is done here.

    :raises InvalidValue: if a URL is not acceptable; its text is not repeated, it may be a secret
    """
    brokers: dict[str, Broker[Any]] = {}
    for url in urls:
        broker = _new_broker(url)
        of_its_kind = sum(other.kind == broker.kind for other in brokers.values())
        name = broker.kind.lower()
        brokers[f"{name}_{of_its_kind + 1}" if of_its_kind else name] = broker
    return brokers


def _new_broker(url: str) -> "Broker[Any]":
    try:
        if re.fullmatch(r"amqps?://[^\s#]+", url):
            from allocation.adapters.rabbitmq import RabbitMQ

            return RabbitMQ(url)
        if re.fullmatch(r"kafka://[\w.-]+:\d+(,[\w.-]+:\d+)*", url):
            from allocation.adapters.kafka import Kafka

            return Kafka(url)
    except ModuleNotFoundError as error:
        raise InvalidValue(
            "broker URL", f"needs {error.name}; install allocation[broker]"
        ) from None
    raise InvalidValue("broker URL", "is not of the form amqp://… or kafka://host:port,host:port")


@asynccontextmanager
async def closing_all(brokers: Sequence["Broker[Any]"]) -> AsyncIterator[None]:
    """Close them at the end."""
    async with AsyncExitStack() as stack:
        for broker in brokers:
            stack.push_async_callback(broker.close)
        yield


def describe(error: BaseException) -> str:
    """Return what went wrong, in words, also if the library has none."""
    return str(error).partition("\n")[0] or type(error).__name__


async def undecoded(message: Any) -> Any:
    """Decode nothing: what cannot be decoded must not fail inside the library."""
    return message.body


async def close_quietly(close: Callable[[], Awaitable[None]]) -> None:
    """Close something, but not for ever; it is broken or not needed, so no error matters."""
    with anyio.move_on_after(CLOSE_SECONDS, shield=True), suppress(Exception):
        await close()


async def _lost_if_cancelled(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call a library that cancels its own waiters when a connection is lost.

    :raises ConnectionError: in that case; only a cancellation of ours passes as one
    """
    try:
        return await function(*args)
    except get_cancelled_exc_class() as error:
        await checkpoint_if_cancelled()
        raise ConnectionError("the connection was lost") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
