"""What happens to an event after it was stored: its deliveries and their life. Pure: no I/O.

A delivery is one handler's debt to one event: owed until the handler has done the work, and kept
as history then. What comes next is decided here, and stored by `adapters/outbox.py`.

Every claim has a fencing token: the row's token grows whenever its owner changes, and every write
of a claim must find it unchanged, so a late owner cannot overwrite the work of a new one (Martin
Kleppmann, *Designing Data-Intensive Applications*, chapter 8). It is not the attempt number, which
can start again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import NewType

from anyio import current_time

from allocation.domain.exceptions import AllocationError
from allocation.service_layer.envelopes import CommandEnvelope, Envelope, MessageContext

IdempotencyKey = NewType("IdempotencyKey", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One claim on one handler's debt to one event, with its attempt from 1 and fencing token."""

    envelope: Envelope
    handler: str
    attempt: int
    token: int = 1
    held_since: float = field(default=inf, compare=False)  # event loop's clock: begin of the lease

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """The same for every attempt, so that the outside world can recognize a repetition."""
        return IdempotencyKey(f"{self.envelope.id}:{self.handler}")

    @property
    def as_context(self) -> MessageContext:
        """The context of whatever is done because of this delivery."""
        return replace(self.envelope.context, causation_id=self.envelope.id, handler=self.handler)

    def seconds(self) -> float:
        """Return how long this attempt has taken until now."""
        return max(0.0, current_time() - self.held_since)


Trigger = CommandEnvelope | Delivery  # what a handler works on


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery whose attempt failed, and in how many seconds it is tried again; None: parked."""

    delivery: Delivery
    error: Exception
    retry_in: float | None

    def __str__(self) -> str:
        delivery, envelope = self.delivery, self.delivery.envelope
        event = f"{type(envelope.event).__name__} {envelope.id}, attempt {delivery.attempt}"
        return f"{delivery.handler} failed on {event}: {type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of deliveries: the events that were committed, and the failures."""

    events: tuple[Envelope, ...] = ()
    failures: tuple[Failure, ...] = ()

    def __add__(self, other: "Report") -> "Report":
        return Report(self.events + other.events, self.failures + other.failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How long an attempt may take and when the next one follows. All times are seconds."""

    inline: bool  # the committing process makes the first attempts itself, and holds their lease
    lease: float
    handler_timeout: float
    retry_base: float
    retry_factor: float
    retry_cap: float
    max_attempts: int

    def first_attempts(self, envelope: Envelope, handlers: Sequence[str]) -> list[Delivery]:
        """Return the claims that the committing process holds on the deliveries of its event."""
        first = partial(Delivery, envelope=envelope, attempt=1, held_since=envelope.held_since)
        return [first(handler=name) for name in handlers if self.inline]

    def pause_after(
        self, attempt: int, error: Exception, *, random: Callable[[], float]
    ) -> float | None:
        """Return the pause before the next attempt, or None if the delivery has to be parked.

        It grows exponentially up to a cap; jitter draws it from its upper half, so that deliveries
        that failed together do not come back together ("equal jitter", AWS Architecture Blog,
        *Exponential Backoff And Jitter*). `random` draws from 0 to 1.
        """
        if is_permanent(error) or attempt >= self.max_attempts:
            return None
        exponent = min(attempt - 1, 64)  # the cap is reached long before a float overflows
        longest = min(self.retry_cap, self.retry_base * self.retry_factor**exponent)
        return longest * (1 + random()) / 2


def is_permanent(error: Exception) -> bool:
    """Tell whether trying again cannot help: time heals no rule, and no refused e-mail."""
    return isinstance(error, AllocationError) and not error.heals
