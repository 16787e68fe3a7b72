"""What the engine needs of those who store and publish: transactions, deliveries, and brokers.

The first two have one implementation each, in `sql`. Their protocols are what an attempt needs of
them: so what is decided about attempts is read, and imported, without SQLAlchemy.

Every asynchronous method raises Unavailable when its resource is away, and lets cancellation pass.
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
        """Return when the broker has confirmed the event. That nobody listens is no failure."""


class DeliveryStore(Protocol):
    """The stored deliveries.

    Each write names a claim, and changes nothing if somebody else has claimed the delivery since:
    then that is the one to say what becomes of it.

    With asyncpg, the extension `postgresql` sends the claim and the completion of effects in its
    own way.
    """

    limits: Limits
    """Of handlers, by name: what may not begin is not claimed."""

    async def complete(self, claim: Claim, *, follow: bool = True) -> Sequence[Claim]:
        """Mark a delivery as done whose handler has no transaction of its own.

        Return the claim on the next one of its lane: to `follow`, if it has the same correlation
        id, and this process makes first attempts. Else workers find it.

        :raises DeliverySuperseded: if the delivery has another owner now, or was parked
        :raises Unavailable: also if somebody has locked the delivery: it is not waited for
        """

    async def record_failure(self, failure: Failure) -> None:
        """Store the error, and when the delivery is due again; parked, it waits for a person.

        Of the failures of one delivery, the last ten are kept.

        :raises DeliverySuperseded: if the delivery has another owner now, or is done
        :raises Unavailable: also if somebody has locked the delivery
        """

    async def release(self, claims: Collection[Claim], *, interrupted: bool = False) -> None:
        """Make claimed deliveries due as they were then, as if these attempts had not been made.

        The history has them, and whether they were `interrupted`, perhaps after their effect.

        :raises Unavailable: also if somebody has locked some of them; the others are released
        """

    async def ensure_not_paused(self, claim: Claim) -> None:
        """Look whether a person has paused the handler, while the claim has waited to begin.

        A pause of less than a second may go unseen; so may one while the database is away.

        :raises HandlerPaused: if it is paused
        """

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Claim]:
        """Take a lease on up to `limit` due deliveries to these handlers, longest due first.

        What is replayed is taken only if nothing else is due. What only a newer process can read
        is left to it. What was due but can never be handled is parked on the way. A claim is for
        handlers without a limit, or for those of one limit: of others, the first is tried of which
        something is due and may begin.
        """

    async def seconds_until_due(
        self, handlers: Collection[str], *, scheduled: bool = True
    ) -> float | None:
        """Return the seconds until the next delivery that `claim` would take; None if none is.

        Unless `scheduled`, those are left out that are delayed, and were not attempted yet.
        """


class UnitOfWorkScope(Protocol):
    """One transaction, for one attempt to handle one message: rolled back, if not committed.

    The same transaction completes the delivery, or records the command, so the effect of either
    happens exactly once. A command from outside that came without an id, and changed nothing, is
    not recorded. One that a handler has returned is always recorded: it completes a delivery.
    """

    @property
    def uow(self) -> Any:
        """What the handler is given: the unit of work of the application."""

    async def commit(self, envelopes: EnvelopeFactory) -> Committed:
        """Commit what a handler has done. Nothing interrupts a commit, so the answer is reliable.

        :raises Exception: if a rule is violated that only the database can check; also an error of
            the database that a handler has swallowed
        :raises ConcurrentUpdate: if what was read has changed; a fresh attempt may succeed
        :raises DeliverySuperseded: if the delivery has another owner now
        :raises CausationTooDeep: if it has recorded an event, and `MAX_DEPTH` of them led to it
        """


UnitOfWorkFactory = Callable[[WorkItem], AbstractAsyncContextManager[UnitOfWorkScope]]
"""Opens a transaction for each attempt, and closes it, whatever happens.

:raises MessageAlreadyHandled: if the command was received and stored before
"""


class InboundSource(Protocol):
    """What another service publishes, and the function that turns it into a command of ours."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def source(self) -> str:
        """Where its commands come from, among the origins of commands and among the pauses."""

    @property
    def origin(self) -> str:
        """Where the other service publishes it, for people."""

    @property
    def translate(self) -> Callable[..., Any]:
        """The function."""

    def commands(self) -> Collection[type[Any]]:
        """Return the commands that it may become."""
