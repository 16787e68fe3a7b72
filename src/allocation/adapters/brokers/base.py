"""What RabbitMQ and Kafka have in common: publishing events, dead-lettering and consuming commands.

Events are published by many tasks at a time, over one line. Dead letters have a line of their own
and go one by one: a message that a broker refuses may end its connection, under all who use it. So
nothing that is wrong with the dead commands can hold up an event either.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic

import anyio

from allocation.adapters.brokers.exceptions import Undeliverable
from allocation.adapters.brokers.line import C, Line, close_quietly
from allocation.domain.exceptions import AllocationError
from allocation.service_layer.envelopes import Envelope

EVENTS = "allocation.events"  # the exchange, or topic
COMMANDS = "allocation.commands"  # the queue, or topic
DEAD_COMMANDS = "allocation.commands.dead"

DELIVERY_LIMIT = 20  # of RabbitMQ, its own since version 4; a consumer that is restarted counts
KEPT_BYTES = 10_000  # of a dead command that the broker does not take as a whole


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


class Broker(ABC, Generic[C]):
    """One broker, reached over connections `C`."""

    kind: ClassVar[str]
    ack_covers_earlier: ClassVar[bool] = False  # then messages have to be handled one by one
    refusals: ClassVar[tuple[type[Exception], ...]]  # the library's errors that mean Undeliverable

    def __init__(self) -> None:
        self._to_all = self._new_line(self._connect_for_events)
        self._to_the_dead = self._new_line(self._connect_for_the_dead)
        self._dead_lettering = anyio.Lock()

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event.

        :raises BrokerUnavailable: if it does not, in a few seconds
        """
        await self._send(self._to_all, self._as_message(envelope))

    async def dead_letter(self, message: Incoming, error: Exception) -> None:
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
        async with self._dead_lettering:
            try:
                await self._send(self._to_the_dead, dead)
            except Undeliverable as refusal:
                reason["allocation-cut"] = f"{len(message.body)} bytes; {_one_line(refusal)}"
                beginning = message.body[:KEPT_BYTES]
                cut = Outgoing(target=DEAD_COMMANDS, body=beginning, headers=reason)
                await self._send(self._to_the_dead, cut)

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncGenerator[Incoming]]:
        """Open the commands that arrive, with at most `prefetch` not acknowledged.

        The iterator raises when the connection is lost, and may end before: then open it anew.
        """
        connection, subscriber = self._new_subscriber(prefetch)
        received = aiter(subscriber)
        async with AsyncExitStack() as stack:
            # last: before, it would say good-bye to a broker that may not answer
            stack.push_async_callback(close_quietly, received.aclose)
            stack.push_async_callback(close_quietly, connection.stop)
            await self._prepare_to_consume(connection)
            await subscriber.start()
            yield self._received(received, connection, prefetch)

    async def close(self) -> None:
        """Close the connections for publishing."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._to_all.close)
            group.start_soon(self._to_the_dead.close)

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
    async def _prepare_to_consume(self, connection: C) -> None:
        """Open a connection, with a place for commands, and one for dead ones, at its other end."""

    @abstractmethod
    async def _connect_for_events(self) -> C:
        """Return a new connection to publish events with."""

    @abstractmethod
    async def _connect_for_the_dead(self) -> C:
        """Return a new connection for dead letters, with a place for them at its other end."""

    @abstractmethod
    async def _deliver(self, message: Outgoing, connection: C) -> None:
        """Send a message, and return when it is confirmed."""

    def _is_lost(self, connection: C) -> bool:
        """Tell whether a connection is known to be lost; some are mended by the library."""
        return False

    def _new_line(self, connect: Callable[[], Awaitable[C]]) -> Line[C]:
        return Line(self.kind, connect, is_lost=self._is_lost, refusals=self.refusals)

    async def _received(
        self, messages: AsyncIterator[Any], connection: C, prefetch: int
    ) -> AsyncGenerator[Incoming]:
        async for message in messages:
            yield self._as_it_came(message)

    async def _send(self, line: Line[C], message: Outgoing) -> None:
        await line.send(partial(self._deliver, message))


async def undecoded(message: Any) -> Any:
    """Decode nothing: what cannot be decoded must not fail inside the library."""
    return message.body


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]
