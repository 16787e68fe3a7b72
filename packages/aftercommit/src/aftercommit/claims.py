"""What a process works on, and the results: claims on deliveries, and commands. Pure: no I/O.

A delivery is one handler's share in one event: pending until the handler has done its work, then
kept as history. Claims are made, and ended, in `deliveries/store.py`.

Every claim has a fencing token: the row's token grows with each claim, and when a claim is given
back or taken away. Every write of a claim must find it unchanged, so a late owner cannot overwrite
the work of a new one (Martin Kleppmann, *Designing Data-Intensive Applications*, chapter 8). The
attempt number cannot serve for this, because it can start again at 1.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple, NewType
from uuid import UUID

from aftercommit.envelopes import INTERNAL, Envelope, MessageContext, MessageOrigin
from aftercommit.giving_up import GivenUp

IdempotencyKey = NewType("IdempotencyKey", str)
"""The same for every attempt of a delivery, so that an external system can recognize a repetition.

It is the id of the event, a colon, and the name that the handler had when it was stored. Not every
system accepts a colon: a Message-ID, for example, has none.

>>> from aftercommit import IdempotencyKey, Outbox, on
>>> from shop.domain.messages import OrderPlaced
>>> async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
...     print(f"Message-ID: <{idempotency_key.replace(':', '.')}@example.com>")
>>> outbox = Outbox("shop", "sqlite:///shop.db", [on(OrderPlaced, confirm)])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim on one delivery, with its attempt from 1 and its fencing token.

    The transaction of its handler completes the delivery.
    """

    envelope: Envelope
    handler: str
    attempt: int
    token: int = 1
    unavailable_attempts: int = 0  # ended as a resource was unavailable: not counted
    leased_at: float = field(default=inf, compare=False)  # by the event loop's clock
    lane: str | None = None  # the lane whose next delivery waits for this one; None: none waits
    given_up: GivenUp | None = None  # what happens instead of the handler is all that runs
    last_error: str | None = None
    begins_chain: bool = False  # what is recorded because of it has depth 1

    @property
    def message(self) -> object:
        """The event."""
        return self.envelope.event

    @property
    def name(self) -> str:
        """The handler's name, for logs and displays."""
        return self.handler

    @property
    def context(self) -> MessageContext:
        """The context of everything that is done because of this delivery."""
        cause = self.envelope.context
        return MessageContext(
            correlation_id=cause.correlation_id,
            causation_id=self.envelope.id,
            handler=self.handler,
            depth=1 if self.begins_chain else cause.depth + 1,
            traceparent=cause.traceparent,
        )

    @property
    def idempotency_key(self) -> IdempotencyKey:
        """The same for every attempt, so that external systems can recognize a repetition."""
        return IdempotencyKey(f"{self.envelope.id}:{self.handler}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandWork:
    """A command and what is known about it. The commit of its handler records it.

    If the handler of a delivery has returned the command, the same commit completes that delivery.
    """

    id: UUID
    type: str
    message: object
    origin: MessageOrigin = INTERNAL
    completes: Claim | None = None

    @property
    def name(self) -> str:
        """The command's name, for logs and displays."""
        return type(self.message).__name__

    @property
    def context(self) -> MessageContext:
        """The context of everything that is done because of this command."""
        if self.completes:
            return replace(self.completes.context, causation_id=self.id, handler=None)
        first_id = self.origin.correlation_id or self.id
        parent = self.origin.traceparent
        return MessageContext(correlation_id=first_id, causation_id=self.id, traceparent=parent)


class NewDelivery(NamedTuple):
    """A delivery of a new event: due after a delay, given up `within` a time, perhaps in a lane."""

    envelope: Envelope
    handler: str
    delay: float
    lane: str | None
    within: float | None = None


WorkItem = CommandWork | Claim
"""What a handler works on. Both have a message, a name and a context."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit has stored: its events, and this process's claims on their deliveries.

    For an ordered handler, the next delivery of its lane may be among the claims, too. If a handler
    has returned a command, its `answer`, these are what that command has stored.
    """

    events: tuple[Envelope, ...] = ()
    claims: tuple[Claim, ...] = ()
    answer: object | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A delivery whose attempt failed, and the seconds to the next one; None: it is parked."""

    delivery: Claim
    error: Exception
    retry_in: float | None
    given_up: GivenUp | None = None  # now: the next claim runs what happens instead

    def __str__(self) -> str:
        delivery, envelope = self.delivery, self.delivery.envelope
        who = f"{'what happens instead of ' * bool(delivery.given_up)}{delivery.handler}"
        event = f"{type(envelope.event).__name__} {envelope.id}, attempt {delivery.attempt}"
        return f"{who} failed on {event}: {type(self.error).__name__}: {self.error}"


class LastWrite(NamedTuple):
    """Stores what became of claims, including the one that it `completes`."""

    write: Callable[[], Awaitable[object]]
    completes: bool


@dataclass(slots=True)
class Report:
    """The results of deliveries and of those they caused: committed events, and failures.

    `unwritten` holds the last writes that failed, by the keys and tokens of their claims; they may
    be made later.
    """

    events: list[Envelope] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    unwritten: dict[tuple[tuple[str, int], ...], LastWrite] = field(default_factory=dict)

    def keep(
        self, claims: Collection[Claim], write: Callable[[], Awaitable[object]], *, completes: bool
    ) -> None:
        """Keep what was not written; for each claim the first one, as a success is no failure."""
        names = tuple((each.idempotency_key, each.token) for each in claims)
        self.unwritten.setdefault(names, LastWrite(write, completes))
