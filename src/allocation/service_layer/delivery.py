"""What happens to an event after it was stored: its deliveries and their life. Pure: no I/O.

A delivery is one handler's debt to one event. Its row exists exactly as long as the handler still
owes the work. This module decides what comes next; `adapters/outbox.py` stores the decision.

Every claim has a fencing token: the row's token grows whenever its owner changes, and every write
of a claim must find it unchanged. So a late owner cannot overwrite the work of a new one. (Martin
Kleppmann, *Designing Data-Intensive Applications*, chapter 8.) It is not the attempt number:
attempts can start again, and one that was given back does not count.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import NewType
from uuid import UUID

from allocation.domain.events import Event
from allocation.domain.exceptions import AllocationError

EventId = NewType("EventId", UUID)
IdempotencyKey = NewType("IdempotencyKey", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageContext:
    """Why something happens: the message that caused it, and the first one of the whole story."""

    correlation_id: UUID
    causation_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event and what is known about it; the attributes are those of CloudEvents 1.0."""

    id: EventId
    event: Event
    subject: str
    time: datetime
    context: MessageContext
    recorded_at: float = field(
        default=inf, compare=False
    )  # event loop's clock; set by its committer

    @property
    def as_context(self) -> MessageContext:
        """The context of whatever is done because of this event."""
        return MessageContext(correlation_id=self.context.correlation_id, causation_id=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One claim on one handler's debt to one event, with its attempt from 1 and fencing token.

    The lease began at `held_since` or a little later, by the event loop's clock.
    """

    envelope: Envelope
    handler: str
    attempt: int
    token: int = 1
    held_since: float = field(default=inf, compare=False)

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """The same for every attempt, so that the outside world can recognize a repetition."""
        return IdempotencyKey(f"{self.envelope.id}:{self.handler}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """What a message from outside is recognized by when it arrives again (CloudEvents 1.0)."""

    source: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery whose attempt failed, and in how many seconds it is tried again; None: parked."""

    delivery: Delivery
    error: Exception
    retry_in: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of a tree of deliveries: all events that were committed, all failures."""

    events: tuple[Envelope, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How long an attempt may take and when the next one follows. All times are seconds.

    The pause grows exponentially up to a cap; jitter draws it from its upper half, so that
    deliveries that failed together do not come back together ("equal jitter", AWS Architecture
    Blog, *Exponential Backoff And Jitter*).
    """

    inline: bool  # the committing process makes the first attempts itself, and holds their lease
    lease: float
    handler_timeout: float
    retry_base: float
    retry_factor: float
    retry_cap: float
    max_attempts: int

    def pause_after(
        self, attempt: int, error: Exception, *, random: Callable[[], float]
    ) -> float | None:
        """Return the pause before the next attempt, or None if the delivery has to be parked.

        :param random: draws from 0 to 1
        """
        if is_permanent(error) or attempt >= self.max_attempts:
            return None
        exponent = min(attempt - 1, 64)  # the cap is reached long before a float overflows
        return (
            min(self.retry_cap, self.retry_base * self.retry_factor**exponent) * (1 + random()) / 2
        )


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again cannot help: time does not heal it."""
    return isinstance(error, AllocationError) and not error.heals


def first_attempts(envelope: Envelope, handlers: Sequence[str]) -> tuple[Delivery, ...]:
    """Return the claims that the committing process holds on the deliveries of its event."""
    return tuple(
        Delivery(envelope=envelope, handler=name, attempt=1, held_since=envelope.recorded_at)
        for name in handlers
    )
