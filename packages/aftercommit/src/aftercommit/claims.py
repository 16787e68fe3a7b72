"""What a process has to do, and what came of it: claims on deliveries, commands. Pure: no I/O.

A delivery is one handler's share in one event: pending until the handler has done the work, and
kept as history then. Claims are made, and ended, in `sql/delivery_store.py`.

Every claim has a fencing token: the row's token grows with each claim, and when one is given back
or taken away. Every write of a claim must find it unchanged, so a late owner cannot overwrite the
work of a new one (Martin Kleppmann, *Designing Data-Intensive Applications*, chapter 8). It is not
the attempt number, which can start again.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple, NewType
from uuid import UUID

from aftercommit.envelopes import INTERNAL, Envelope, MessageContext, MessageOrigin

IdempotencyKey = NewType("IdempotencyKey", str)
"""The same for every attempt of a delivery, so that the outside can recognize a repetition.

It is the id of the event, a colon, and the name that the handler had when it was stored. Not all
systems take a colon: a Message-ID has none, say.

>>> from aftercommit import IdempotencyKey, Outbox, on
>>> from shop.domain.messages import OrderPlaced
>>> async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
...     print(f"Message-ID: <{idempotency_key.replace(':', '.')}@example.com>")
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
