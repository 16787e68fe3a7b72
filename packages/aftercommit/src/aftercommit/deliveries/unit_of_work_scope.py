"""The unit of work: state, events and deliveries, all in the transaction of one attempt.

Source: *Architecture Patterns with Python*, chapter 6. Different from the book:

- The message bus opens the unit of work, and commits it when the handler has returned. Returning
  means done, raising means not done: there is no `commit()` to forget, or after which to go on.
- Events are delivered only after the commit, so work that was rolled back has no consequences.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import repeat
from math import inf
from operator import itemgetter

from anyio import CancelScope, current_time

from aftercommit.claims import Claim, CommandWork, Committed, WorkItem
from aftercommit.database.connection_guard import HandlerGuard
from aftercommit.database.transaction import Transaction
from aftercommit.database.writer_queue import LONG_SECONDS, Writer
from aftercommit.deliveries.inbox import record_command
from aftercommit.deliveries.lanes import lock_lanes
from aftercommit.deliveries.store import SqlAlchemyDeliveryStore
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.repository import is_aggregate

logger = logging.getLogger(__name__)


NewUnitOfWork = Callable[[Transaction], object]
"""Makes an application's unit of work: its repositories, and two methods if it needs them.

- `async def before_commit(self) -> None` writes what follows from the changes, such as projections.
- `def refusals(self, seen: Sequence[object]) -> Refusals` returns what violated constraints mean,
  by their names; `seen` was added or loaded. A function may be `transaction.refusals` instead.
"""


@asynccontextmanager
async def open_unit_of_work(
    delivery_store: SqlAlchemyDeliveryStore, new_uow: NewUnitOfWork, work: WorkItem
) -> AsyncIterator["SqlAlchemyUnitOfWorkScope"]:
    """Open the transaction of one attempt, and close it in any case.

    :raises MessageAlreadyHandled: if the command was received and stored before

    >>> import anyio, functools
    >>> from aftercommit import new_delivery_store, open_unit_of_work
    >>> from shop.adapters.repositories import unit_of_work
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(settings := APP.load({})) as application:
    ...         store = new_delivery_store(application.database, settings)
    ...         return functools.partial(open_unit_of_work, store, unit_of_work)
    >>> new_uow = anyio.run(main)  # for the message bus
    """
    begun, database = inf, delivery_store.database
    match work:
        case Claim():
            writer = Writer.DELIVERY
        case CommandWork(completes=None):
            writer = Writer.COMMAND
        case _:
            writer = Writer.REPLY
    try:
        async with database.write_transaction(writer) as transaction:
            begun = current_time()
            if isinstance(work, CommandWork) and work.origin.id is not None:
                await record_command(transaction, database.clock, work)
            yield SqlAlchemyUnitOfWorkScope(new_uow, transaction, delivery_store, work)
    finally:
        if database.backend.single_writer and (seconds := current_time() - begun) > LONG_SECONDS:
            text = "%s held the only write lock of the database for %.1f s"
            logger.warning(text, work.name, seconds)


class SqlAlchemyUnitOfWorkScope:
    """The transaction of one attempt, in a database."""

    def __init__(
        self,
        new_uow: NewUnitOfWork,
        transaction: Transaction,
        delivery_store: SqlAlchemyDeliveryStore,
        work: WorkItem,
    ) -> None:
        self._transaction, self._delivery_store, self._work = transaction, delivery_store, work
        self._completes = work if isinstance(work, Claim) else work.completes
        self._guard = transaction.guard = HandlerGuard(transaction.connection)
        self.uow = new_uow(transaction)
        transaction.refusals = getattr(self.uow, "refusals", transaction.refusals)

    async def commit(self, envelopes: EnvelopeFactory) -> Committed:
        transaction, delivery_store = self._transaction, self._delivery_store
        work, completes = self._work, self._completes
        with self._guard.alone(at_rest=True):
            recorded = [*_recorded(transaction)]
            await transaction.flush()
            if before_commit := getattr(self.uow, "before_commit", None):
                await before_commit()
                recorded += _recorded(transaction)
                await transaction.flush()
            events, deliveries = envelopes.of_events(recorded, work.context)
            lanes = [each.lane for each in deliveries if each.lane]
            own = [completes.lane] if completes and completes.lane else []
            is_free = True
            if lanes or own:  # before events are stored: see `lanes.py`
                locked = await lock_lanes(transaction, delivery_store.database, lanes, if_free=own)
                is_free = bool(locked)
            has_effect = completes or events or transaction.has_written
            command = None  # to be stored; a command with an id was stored first
            if has_effect and isinstance(work, CommandWork) and work.origin.id is None:
                command = work
            store = partial(delivery_store.store, transaction, events, deliveries)
            claims = await store(completes=completes, is_free=is_free, command=command)
            with CancelScope(shield=True):  # nor is there a checkpoint before the caller goes on
                await transaction.commit()
        return Committed(tuple(events), tuple(claims))


def _recorded(transaction: Transaction) -> Iterator[tuple[object, str]]:
    """Return all recorded events, also of added or loaded aggregates, with their subjects."""
    found = [(0, event, subject) for event, subject in transaction.recorded]
    transaction.recorded.clear()
    for entity in transaction.seen:  # it grows meanwhile, by aggregates reached through others
        if is_aggregate(entity):
            numbers = getattr(entity, "recorded_numbers", ()) or repeat(0)
            found += zip(numbers, entity.pull_events(), repeat(entity.subject), strict=False)
    return ((event, subject) for _, event, subject in sorted(found, key=itemgetter(0)))
