"""What happens to an event after it was stored: its deliveries and their life. Pure: no I/O.

A delivery is one handler's share in one event: pending until the handler has done the work, and
kept as history then. What comes next is decided here, and stored by `sql/delivery_store.py`; the
extension `postgresql` has the claim and the completion of effects with asyncpg.

Every claim has a fencing token: the row's token grows with each claim, and when one is given back
or taken away. Every write of a claim must find it unchanged, so a late owner cannot overwrite the
work of a new one (Martin Kleppmann, *Designing Data-Intensive Applications*, chapter 8). It is not
the attempt number, which can start again.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal, NamedTuple, NewType
from uuid import UUID

from aftercommit.envelopes import INTERNAL, Envelope, MessageContext, MessageOrigin
from aftercommit.errors import is_away, is_permanent

IdempotencyKey = NewType("IdempotencyKey", str)
"""The same for every attempt of a delivery, so that the outside can recognize a repetition.

>>> from aftercommit import IdempotencyKey, Outbox, on
>>> from shop.domain.messages import OrderPlaced
>>> async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
...     print(f"Message-ID: <{idempotency_key}@example.com>")
>>> outbox = Outbox("shop", "sqlite:///shop.db", [on(OrderPlaced, confirm)])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim on one delivery, with its attempt from 1 and its fencing token.

    As a work item, the transaction of its handler completes it.
    """

    envelope: Envelope
    handler: str
    attempt: int
    token: int = 1
    unavailable_attempts: int = 0  # those that failed because a resource was away: not counted
    leased_at: float = field(default=inf, compare=False)  # event loop's clock: begin of the lease
    lane: str | None = None  # whose next one waits for it; None: nothing does

    @property
    def message(self) -> object:
        """The event."""
        return self.envelope.event

    @property
    def name(self) -> str:
        """What is worked on, for people: the handler."""
        return self.handler

    @property
    def context(self) -> MessageContext:
        """The context of whatever is done because of this delivery."""
        cause = self.envelope.context
        return MessageContext(
            correlation_id=cause.correlation_id,
            causation_id=self.envelope.id,
            handler=self.handler,
            depth=cause.depth + 1,
            traceparent=cause.traceparent,
        )

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """The same for every attempt, so that external systems can recognize a repetition."""
        return IdempotencyKey(f"{self.envelope.id}:{self.handler}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWork:
    """A command and what is known about it. As a work item, its commit records it.

    If the handler of a delivery has returned it, the same commit completes that delivery.
    """

    id: UUID
    type: str
    message: object
    origin: MessageOrigin = INTERNAL
    completes: Claim | None = None

    @property
    def name(self) -> str:
        """What is worked on, for people."""
        return type(self.message).__name__

    @property
    def context(self) -> MessageContext:
        """The context of whatever is done because of this command."""
        if self.completes:
            return replace(self.completes.context, causation_id=self.id, handler=None)
        first_id = self.origin.correlation_id or self.id
        parent = self.origin.traceparent
        return MessageContext(correlation_id=first_id, causation_id=self.id, traceparent=parent)


class NewDelivery(NamedTuple):
    """A delivery of a new event: due so many seconds after the commit, and perhaps in a lane."""

    envelope: Envelope
    handler: str
    delay: float
    lane: str | None


WorkItem = CommandWork | Claim
"""What a handler works on. Both have a message, a name and a context."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has stored: events, and the claims on their deliveries that the process has.

    Of an ordered handler, the next delivery of the lane may be among the claims, too.
    If a handler has returned a command, its `answer`, they are what that has stored.
    """

    events: tuple[Envelope, ...] = ()
    claims: tuple[Claim, ...] = ()
    answer: object | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery whose attempt failed, and in how many seconds it is tried again; None: parked."""

    delivery: Claim
    error: Exception
    retry_in: float | None

    def __str__(self) -> str:
        delivery, envelope = self.delivery, self.delivery.envelope
        event = f"{type(envelope.event).__name__} {envelope.id}, attempt {delivery.attempt}"
        return f"{delivery.handler} failed on {event}: {type(self.error).__name__}: {self.error}"


class LastWrite(NamedTuple):
    """Stores what became of claims; it `completes` one whose handler has done its work."""

    write: Callable[[], Awaitable[object]]
    completes: bool


@dataclass(slots=True)
class Report:
    """What came out of deliveries, and of those they caused: committed events, and failures.

    `unwritten` are the last writes that could not be made, by the keys and tokens of their claims;
    they may still be made later.
    """

    events: list[Envelope] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unwritten: dict[tuple[tuple[str, int], ...], LastWrite] = field(default_factory=dict)

    def keep(
        self, claims: Collection[Claim], write: Callable[[], Awaitable[object]], *, completes: bool
    ) -> None:
        """Keep what was not written; of a claim the first: what has succeeded has not failed."""
        names = tuple((each.idempotency_key, each.token) for each in claims)
        self.unwritten.setdefault(names, LastWrite(write, completes))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How long an attempt may take, and when the next one follows: a part of the settings."""

    dispatch: Literal["inline", "worker"]  # who makes the first attempts, and holds their lease
    lease_seconds: float
    handler_timeout_seconds: float
    retry_initial_seconds: float
    retry_factor: float
    retry_max_seconds: float
    max_attempts: int

    def lease_end(self, claim: Claim) -> float:
        """Return when the lease of a claim is over, by the event loop's clock."""
        return claim.leased_at + self.lease_seconds

    @property
    def last_write_seconds(self) -> float:
        """How much of a lease is kept to store what became of the attempt."""
        return (self.lease_seconds - self.handler_timeout_seconds) / 5

    @property
    def begin_seconds(self) -> float:
        """How late in its lease a handler without a transaction may begin: it has time to end."""
        return self.lease_seconds - self.last_write_seconds - self.handler_timeout_seconds

    def retry_delay(
        self, claim: Claim, error: Exception, *, random: Callable[[], float]
    ) -> float | None:
        """Return the pause before the next attempt, or None if the delivery has to be parked.

        It grows exponentially up to a longest; jitter draws it from its upper half, so that
        deliveries that failed together do not come back together ("equal jitter", AWS Architecture
        Blog, *Exponential Backoff And Jitter*). `random` draws from 0 to 1. An attempt that failed
        because a resource is away makes the pause longer, but counts for nothing else.
        """
        if is_permanent(error):
            return None
        if claim.attempt >= self.max_attempts and not is_away(error):
            return None
        earlier = claim.attempt - 1 + claim.unavailable_attempts
        exponent = min(earlier, 64)  # the longest is reached long before a float overflows
        pause = self.retry_initial_seconds * self.retry_factor**exponent
        longest = min(self.retry_max_seconds, pause)
        return longest * (1 + random()) / 2
