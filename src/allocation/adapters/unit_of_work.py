"""The unit of work on SQLAlchemy: one session, one transaction."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf

from anyio import current_time

from allocation.adapters import repository
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.transaction import Transaction
from allocation.adapters.write_line import LONG_SECONDS, Writer
from allocation.service_layer.delivery_model import Delivery, WorkItem
from allocation.service_layer.unit_of_work import Subscribed, UnitOfWork

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_unit_of_work(
    outbox: SqlAlchemyOutbox, work: WorkItem
) -> AsyncIterator["SqlAlchemyUnitOfWorkScope"]:
    """Open the transaction of one attempt, and close it, whatever happens.

    :raises MessageAlreadyHandled: if the command was received and stored before
    """
    begun, database = inf, outbox.database
    writer = Writer.DELIVERY if work.settles else Writer.COMMAND
    if work.records and work.settles:
        writer = Writer.REPLY
    try:
        async with database.write_transaction(writer) as transaction:
            begun = current_time()
            if (command := work.records) and command.origin.id is not None:
                await repository.record_command(transaction, database.clock, command)
            yield SqlAlchemyUnitOfWorkScope(transaction, outbox, work)
    finally:
        if database.backend.single_writer and (seconds := current_time() - begun) > LONG_SECONDS:
            text = "%s held the only write lock of the database for %.1f s"
            logger.warning(text, work.name, seconds)


class SqlAlchemyUnitOfWorkScope:
    """The transaction of one attempt, in a database."""

    def __init__(self, transaction: Transaction, outbox: SqlAlchemyOutbox, work: WorkItem) -> None:
        self.store, self._outbox, self._work = transaction, outbox, work
        self._user_view = repository.SqlAlchemyUserProjection(transaction)
        self.uow = UnitOfWork(
            transaction,
            users=repository.SqlAlchemyUsers(transaction),
            coupon_batches=repository.SqlAlchemyCouponBatches(transaction),
            registration_log=repository.SqlAlchemyRegistrationLog(transaction),
            user_view=self._user_view,
        )

    async def write(self, subscribed: Subscribed) -> Sequence[Delivery]:
        self.store.raise_failure()  # one that a handler has swallowed
        await repository.flush(self.store)
        await self._user_view.write()
        claims = await self._outbox.store(self.store, subscribed)
        if delivery := self._work.settles:
            await self._outbox.settle_in(self.store, delivery)  # which is a change, too
        command = self._work.records
        if command and command.origin.id is None and self.store.has_written:
            await repository.record_command(self.store, self._outbox.database.clock, command)
        return claims

    async def commit(self) -> None:
        await self.store.commit()
