"""What the engine needs from its storage and brokers: transactions, deliveries, publishers.

The first two have one implementation each, in `deliveries`. Their protocols are what an attempt
needs, so that the decisions about attempts can be read, and imported, without SQLAlchemy.

Every asynchronous method raises Unavailable when its resource is down, and can be cancelled.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from aftercommit.claims import Claim, Committed, Failure, WorkItem
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import Envelope
from aftercommit.limits import Limits


class Publisher(Protocol):
    """One message broker, on the sending side.

    >>> from aftercommit import Envelope
    >>> from shop.service_layer.handlers import HANDLERS
    >>> class Printer:
    ...     async def publish(self, envelope: Envelope) -> None:
    ...         print(envelope.type)
    >>> "publish_event_to_printer" in HANDLERS.publishing_to({"printer": Printer()}).by_name()
    True
    """

    async def publish(self, envelope: Envelope) -> None:
        """Return when the broker has confirmed the event, whether anybody listens or not."""


class DeliveryStore(Protocol):
    """The stored deliveries.

    Each write names a claim, and changes nothing if another process has claimed the delivery since:
    then that process decides what becomes of it.

    With asyncpg, the extension `postgresql` has its own statements for claims and completions.
    """

    limits: Limits
    """By handler name: deliveries that may not begin now are not claimed."""
    instead: Collection[str]
    """The handlers that may be given up: from then on, claims are for what happens instead."""
    most_handlers: int
    """For so many, a claim takes no longer than a few milliseconds: a worker claims for some."""

    async def complete(self, claim: Claim, *, follow: bool = True) -> Sequence[Claim]:
        """Mark a delivery as done whose handler has no transaction of its own.

        Return a claim on the next delivery of its lane, to `follow`, if that has the same
        correlation id and this process makes first attempts. Otherwise, workers find it.

        :raises DeliverySuperseded: if the delivery has another owner now, or was parked
        :raises Unavailable: also if the delivery is locked, without waiting for the lock
        """

    async def record_failure(self, failure: Failure) -> None:
        """Store the error, and when the delivery is due again; or park it, for an operator.

        The last ten failures of a delivery are kept.

        :raises DeliverySuperseded: if the delivery has another owner now, or is done
        :raises Unavailable: also if the delivery is locked
        """

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        """Make claimed deliveries due as before, and do not count these attempts.

        The history shows them, and whether they were `interrupted`, perhaps after their effect.

        :raises Unavailable: also if some of them are locked; the others are released
        """

    async def ensure_not_paused(self, claim: Claim) -> None:
        """Check whether an operator has paused the handler while the claim was waiting to begin.

        A pause in the last second may go unseen; so may one while the database is down.

        :raises HandlerPaused: if it is paused
        """

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        """Take a lease on up to `limit` due deliveries to these handlers, longest due first.

        Replayed deliveries are taken only if no others are due. Deliveries that only a newer
        process can read are left to it, and those that can never be handled are parked. A claim is
        for handlers without a limit, or for those of one limit; among several limits, it is for the
        first with a due delivery that may begin.
        """

    async def seconds_until_due(
        self, handlers: Collection[str], *, scheduled: bool = True
    ) -> float | None:
        """Return the seconds until `claim` would take another delivery; None if there is none.

        Without `scheduled`, delayed deliveries before their first attempt are left out.
        """


class UnitOfWorkScope(Protocol):
    """One transaction for one attempt to handle one message; rolled back if not committed.

    The same transaction completes the delivery, or records the command, so that its effect happens
    exactly once. A command from outside without an id that changed nothing is not recorded. A
    command that a handler has returned is always recorded, because it completes a delivery.
    """

    @property
    def uow(self) -> Any:
        """What the handler is given: the application's unit of work."""

    async def commit(self, envelopes: EnvelopeFactory) -> Committed:
        """Commit what a handler has done. A commit is not interrupted, so its result is reliable.

        :raises Exception: if a rule is violated that only the database can check; also if a handler
            has swallowed an error of the database
        :raises ConcurrentUpdate: if what was read has changed; a fresh attempt may succeed
        :raises DeliverySuperseded: if the delivery has another owner now
        :raises CausationTooDeep: if it has recorded an event after a chain of `MAX_DEPTH` events
        """


UnitOfWorkFactory = Callable[[WorkItem], AbstractAsyncContextManager[UnitOfWorkScope]]
"""Opens a transaction for each attempt, and closes it in any case.

:raises MessageAlreadyHandled: if the command was received and stored before
"""


class InboundSource(Protocol):
    """The messages of another service, and the function that turns each into a command of ours."""

    @property
    def name(self) -> str:
        """The name of the subscription."""

    @property
    def source(self) -> str:
        """The source of its commands, as stored with commands and pauses."""

    @property
    def origin(self) -> str:
        """Where the other service publishes, for display."""

    @property
    def translate(self) -> Callable[..., Any]:
        """The function."""

    def commands(self) -> Collection[type[Any]]:
        """Return the types of the commands that it may return."""
