"""The transaction of one attempt, in which a unit of work does its changes."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Protocol

from anyio import current_time

from aftercommit.claims import Claim, CommandWork, WorkItem
from aftercommit.sql.inbox import record_command
from aftercommit.sql.lanes import lanes_of, lock_lanes
from aftercommit.sql.outbox import SqlAlchemyOutbox
from aftercommit.sql.transaction import Refusals, Transaction
from aftercommit.sql.write_line import LONG_SECONDS, Writer
from aftercommit.unit_of_work import Subscribed

logger = logging.getLogger(__name__)


class SqlAlchemyUnitOfWork(Protocol):
    """What an application says of its unit of work, besides its repositories."""

    async def before_commit(self) -> None:
        """Write what follows from all that was changed, such as projections."""

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Say what violated constraints would mean; `seen` was added or loaded."""


NewUnitOfWork = Callable[[Transaction], SqlAlchemyUnitOfWork]


@asynccontextmanager
async def open_unit_of_work(
    outbox: SqlAlchemyOutbox, new_uow: NewUnitOfWork, work: WorkItem
) -> AsyncIterator["SqlAlchemyUnitOfWorkScope"]:
    """Open the transaction of one attempt, and close it, whatever happens.

    :raises MessageAlreadyHandled: if the command was received and stored before

    >>> import anyio, functools
    >>> from aftercommit import new_outbox, open_unit_of_work
    >>> from shop.adapters.unit_of_work import SqlAlchemyUnitOfWork
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(settings := APP.load({})) as application:
    ...         outbox = new_outbox(application.database, settings)
    ...         return functools.partial(open_unit_of_work, outbox, SqlAlchemyUnitOfWork)
    >>> new_uow = anyio.run(main)  # for the message bus
    """
    begun, database = inf, outbox.database
    try:
        async with database.write_transaction(_writer(work)) as transaction:
            begun = current_time()
            if isinstance(work, CommandWork) and work.origin.id is not None:
                await record_command(transaction, database.clock, work)
            yield SqlAlchemyUnitOfWorkScope(new_uow(transaction), transaction, outbox, work)
    finally:
        if database.backend.single_writer and (seconds := current_time() - begun) > LONG_SECONDS:
            text = "%s held the only write lock of the database for %.1f s"
            logger.warning(text, work.name, seconds)


def _writer(work: WorkItem) -> Writer:
    match work:
        case Claim():
            return Writer.DELIVERY
        case CommandWork(settles=None):
            return Writer.COMMAND
    return Writer.REPLY


class SqlAlchemyUnitOfWorkScope:
    """The transaction of one attempt, in a database."""

    def __init__(
        self,
        uow: SqlAlchemyUnitOfWork,
        transaction: Transaction,
        outbox: SqlAlchemyOutbox,
        work: WorkItem,
    ) -> None:
        self.uow, self.store, self._outbox, self._work = uow, transaction, outbox, work
        transaction.refusals = uow.refusals

    async def write(self, subscribed: Subscribed) -> Sequence[Claim]:
        self.store.raise_failure()  # one that a handler has swallowed
        await self.store.flush()
        await self.uow.before_commit()
        work = self._work
        settles = work if isinstance(work, Claim) else work.settles
        await lock_lanes(self.store, self._outbox.database, lanes_of(subscribed, settles))
        claims = [*await self._outbox.store(self.store, subscribed)]
        if settles:
            claims += await self._outbox.settle_in(self.store, settles)
        match work:
            case CommandWork(settles=Claim()) as command:
                await self._record(command)
            case CommandWork() as command if command.origin.id is None and self.store.has_written:
                await self._record(command)
        return claims

    async def _record(self, command: CommandWork) -> None:
        await record_command(self.store, self._outbox.database.clock, command)

    async def commit(self) -> None:
        await self.store.commit()
