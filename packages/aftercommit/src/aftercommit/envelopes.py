"""Messages and what is known about them besides their content. Pure: no I/O."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType, TypeVar
from uuid import UUID

EventId = NewType("EventId", UUID)
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class HandlerSubscription:
    """How a handler gets an event: a delay in seconds, and its lane if it is ordered.

    If it has not succeeded `within` as many seconds, it is given up. `lane` is the common name of
    its lanes; `key` returns which of them is an event's; else it is the subject. If it
    `begins_chain`, what it records is not counted as a part of a cycle.
    """

    delay: float = 0.0
    lane: str | None = None
    key: Callable[[Any], object] | None = None
    within: float | None = None
    begins_chain: bool = False

    def lane_of(self, event: object, subject: str) -> str | None:
        """Return the lane of an event; None if the handler is not ordered."""
        return self.lane and f"{self.lane}:{self.key(event) if self.key else subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContext:
    """Why something happens: the message that caused it, and the first one of the whole trace."""

    correlation_id: UUID
    causation_id: UUID
    handler: str | None = None  # by which of its handlers, if it is an event; None: by a command
    depth: int = 1  # of the events recorded here: one more than that of the event that caused them
    traceparent: str | None = None  # W3C Trace Context, for tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event and what is known about it; the attributes are those of CloudEvents 1.0.

    >>> from aftercommit import Envelope, Outbox, on
    >>> from shop.domain.messages import OrderPlaced
    >>> async def audit(event: OrderPlaced, envelope: Envelope) -> None:
    ...     print(envelope.time, envelope.type, envelope.subject, envelope.context.correlation_id)
    >>> outbox = Outbox("shop", "sqlite:///shop.db", [on(OrderPlaced, audit)])
    """

    id: EventId
    source: str
    type: str
    schema_version: int
    event: object
    subject: str
    time: datetime
    context: MessageContext
    key: str | None = None  # for other services, if it is published; None: the subject
    position: int | None = None  # grows from event to event in a lane; None: it has no lane


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOrigin:
    """Where a command comes from, and the id by which it is recognized when it arrives again.

    Source and id are those of CloudEvents 1.0. A command without an id is never recognized. The
    fingerprint of its content tells a repetition from another message with the same id.

    >>> import anyio, uuid
    >>> from aftercommit import MessageOrigin
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         for _ in range(2):
    ...             await application.bus.handle(order, MessageOrigin(source="/till", id="sale-7"))
    >>> anyio.run(main)
    Traceback (most recent call last):
    aftercommit.errors.MessageAlreadyHandled: message 'sale-7' from '/till' has been handled already
    """

    source: str
    id: str | None = None
    fingerprint: str | None = field(default=None, compare=False)
    traceparent: str | None = field(default=None, compare=False)
    correlation_id: UUID | None = field(default=None, compare=False)  # None: a new trace begins


INTERNAL = MessageOrigin(source="program")  # for a command without further information


current_context: ContextVar[MessageContext | None] = ContextVar("current_context", default=None)
"""Why the current task works. Set for each message; the log formatter reads it."""
current_traceparent: ContextVar[str | None] = ContextVar("current_traceparent", default=None)
"""The `traceparent` of what is committed now. Set by an observer that makes spans."""


def message_types(module: object, base: type[M]) -> list[type[M]]:
    """Return the types of messages that a module defines, or imports.

    >>> from aftercommit import message_types
    >>> from shop.domain import bases, messages
    >>> print(*(each.__name__ for each in message_types(messages, bases.Event)))
    OrderPlaced OrderCancelled
    """
    types = [member for member in vars(module).values() if isinstance(member, type)]
    return [type_ for type_ in types if issubclass(type_, base) and type_ is not base]
