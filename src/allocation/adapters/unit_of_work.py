"""The unit of work on SQLAlchemy: one session, one transaction."""

import logging
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from math import inf

from anyio import current_time
from sqlalchemy.exc import IntegrityError

from allocation.adapters import repository
from allocation.adapters.constraints import REFUSALS, Refusal
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.transaction import Transaction
from allocation.domain.error_kinds import RuleViolation
from allocation.service_layer.delivery_model import Delivery, WorkItem
from allocation.service_layer.exceptions import ConcurrentUpdate
from allocation.service_layer.unit_of_work import Subscribed, UnitOfWork

LONG_SECONDS = 1.0  # for which all other writers of SQLite may have to wait

logger = logging.getLogger(__name__)


@asynccontextmanager
async def open_unit_of_work(
    outbox: SqlAlchemyOutbox, work: WorkItem
) -> AsyncIterator["SqlAlchemyUnitOfWorkScope"]:
    """Open the transaction of one attempt, and close it, whatever happens.

    :raises MessageAlreadyHandled: if the command was received and stored before
    """
    begun, database = inf, outbox.database
    try:
        async with database.write_transaction() as transaction:
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
        seen = self.store.seen  # unreadable after a failed flush
        refusals = [each for refusals in REFUSALS for each in refusals(seen)]
        try:
            await self.store.flush()
        except IntegrityError as error:
            raise _as_domain_error(error, refusals) from error
        await self._user_view.write()
        claims = await self._outbox.store(self.store, subscribed)
        if delivery := self._work.settles:
            await self._outbox.settle_in(self.store, delivery)
        command = self._work.records
        if command and command.origin.id is None and self.store.has_written:
            await repository.record_command(self.store, self._outbox.database.clock, command)
        return claims

    async def commit(self) -> None:
        await self.store.commit()


def _as_domain_error(
    error: IntegrityError, refusals: Iterable[Refusal]
) -> RuleViolation | ConcurrentUpdate:
    """Tell the rules that only the database can check from conflicts that a fresh unit resolves."""
    values = str(error.params) + str(error.params).replace("-", "")  # a UUID may have dashes
    for constraint, value, refusal in refusals:
        if re.search(constraint, str(error.orig)) and value in values:
            return refusal
    return ConcurrentUpdate()
