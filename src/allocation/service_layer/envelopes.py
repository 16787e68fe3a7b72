"""Messages on their way: what is known about each, besides what it says. Pure: no I/O."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from typing import NewType
from uuid import UUID

from anyio import current_time

from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.domain.model import Aggregate

EventId = NewType("EventId", UUID)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContext:
    """Why something happens: the message that caused it, and the first one of the whole story."""

    correlation_id: UUID
    causation_id: UUID
    handler: str | None = None  # which one of the event that caused it; None: that of a command
    traceparent: str | None = None  # W3C Trace Context, for those who trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event and what is known about it; the attributes are those of CloudEvents 1.0."""

    id: EventId
    event: Event
    subject: str
    time: datetime
    context: MessageContext
    held_since: float = field(default=inf, compare=False)  # event loop's clock: see `Delivery`


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """Where a command comes from, and by which id it is recognized when it arrives again.

    Source and id are those of CloudEvents 1.0. What has no id is not recognized. The fingerprint
    of what it says tells a repetition from another message with the same id.
    """

    source: str
    id: str | None = None
    fingerprint: str | None = field(default=None, compare=False)
    traceparent: str | None = field(default=None, compare=False)
    correlation_id: UUID | None = field(default=None, compare=False)  # None: a new story begins


INSIDE = ReceivedMessage(source="program")  # a command that nobody says more about


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEnvelope:
    """A command and what is known about it."""

    id: UUID
    command: Command
    received: ReceivedMessage

    @property
    def as_context(self) -> MessageContext:
        """The context of whatever is done because of this command."""
        first_id = self.received.correlation_id or self.id
        parent = self.received.traceparent
        return MessageContext(correlation_id=first_id, causation_id=self.id, traceparent=parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeFactory:
    """Makes envelopes of what aggregates have recorded, and knows who owes work to them."""

    subscriptions: Mapping[type[Event], Sequence[str]]
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]

    def subscribers(self, envelope: Envelope) -> Sequence[str]:
        """Return the names of the handlers that owe work to this event."""
        return self.subscriptions.get(type(envelope.event), ())

    def drain(self, aggregates: Iterable[Aggregate], context: MessageContext) -> Iterator[Envelope]:
        """Take the events of these aggregates, and put each into an envelope."""
        context = replace(context, traceparent=current_span.get() or context.traceparent)
        for aggregate in aggregates:
            for event in aggregate.drain_events():
                yield Envelope(
                    id=EventId(self.new_id()),
                    event=event,
                    subject=aggregate.subject,
                    time=self.now(),
                    context=context,
                    held_since=current_time(),
                )


current_context: ContextVar[MessageContext | None] = ContextVar("current_context", default=None)
"""Why the current task works. Set by the bus, read by the log formatter."""
current_span: ContextVar[str | None] = ContextVar("current_span", default=None)
"""Its `traceparent` for what is committed now. Set by an observer, if one makes spans."""


@contextmanager
def working_on(context: MessageContext) -> Iterator[None]:
    """Mark everything logged inside as caused by `context`."""
    token = current_context.set(context)
    try:
        yield
    finally:
        current_context.reset(token)
