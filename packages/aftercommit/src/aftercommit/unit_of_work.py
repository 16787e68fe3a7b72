"""The unit of work: state, events and deliveries in one transaction, or none of them.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- The message bus opens the unit of work, and commits it when the handler has returned. Returned
  means done, raised means not done: there is no `commit()` to forget, or to work on after.
- Events leave only after the commit, so work that was rolled back never speaks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from anyio import CancelScope

from aftercommit.claims import Committed, Delivery, WorkItem
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import Envelope, Subscribers
from aftercommit.exceptions import CausationTooDeep
from aftercommit.repository import AggregateStore, Recorder, is_recorder

MAX_DEPTH = 100  # events that may cause each other in a row: more are taken for a cycle

Subscribed = Sequence[tuple[Envelope, Subscribers]]


class UnitOfWorkScope(Protocol):
    """One transaction, for one attempt to handle one message: rolled back, if not committed.

    The same transaction settles the delivery, or records the command, so the effect of either
    happens exactly once. A command from outside that came without an id, and changed nothing, is
    not recorded. One that a handler has returned is always recorded: it settles a delivery.
    """

    @property
    def uow(self) -> Any:
        """What the handler is given: the unit of work of the application."""

    @property
    def store(self) -> AggregateStore:
        """The aggregates of this transaction."""

    async def write(self, subscribed: Subscribed) -> Sequence[Delivery]:
        """Write state, events and deliveries, and settle the delivery; return the new claims."""

    async def commit(self) -> None:
        """Commit what was written; raise the error of the database that a handler has swallowed."""


UnitOfWorkFactory = Callable[[WorkItem], AbstractAsyncContextManager[UnitOfWorkScope]]
"""Opens a transaction for each attempt, and closes it, whatever happens.

:raises MessageAlreadyHandled: if the command was received and stored before
"""


async def commit_unit_of_work(
    scope: UnitOfWorkScope, envelopes: EnvelopeFactory, work: WorkItem
) -> Committed:
    """Commit what a handler has done. Nothing interrupts a commit, so the answer is reliable.

    :raises Exception: if a rule is violated that only the database can check
    :raises ConcurrentUpdate: if what was read has changed meanwhile; a fresh attempt may succeed
    :raises DeliverySuperseded: if the delivery has another owner now
    :raises CausationTooDeep: if it has recorded an event, and `MAX_DEPTH` of them led to it
    """
    context = work.context
    subscribed = list(envelopes.of_events(_aggregates(scope.store), context))
    if subscribed and context.depth > MAX_DEPTH:
        before = [d.envelope.context.handler for d in (work.settles,) if d]
        raise CausationTooDeep(context.depth, [*before, work.name])
    claims = await scope.write(subscribed)
    with CancelScope(shield=True):  # nor is there a checkpoint between this and the caller
        await scope.commit()
    return Committed(tuple(event for event, _ in subscribed), tuple(claims))


def _aggregates(store: AggregateStore) -> Iterator[Recorder]:
    """Yield the aggregates that this transaction has seen, also through another one."""
    for aggregate in store.seen:  # it grows on the way
        if is_recorder(aggregate):
            for part in aggregate.new_parts:
                store.add(part)
            yield aggregate
