"""The unit of work on SQLAlchemy: one session, one transaction."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from math import inf

from anyio import current_time
from sqlalchemy.exc import IntegrityError

from allocation.adapters import repository
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.transaction import Transaction
from allocation.domain.coupons import Coupon, CouponAlreadyAllocated
from allocation.domain.exceptions import RuleViolation
from allocation.domain.user_imports import UserImport
from allocation.domain.users import EmailAlreadyRegistered, User
from allocation.service_layer.deliveries import Delivery, WorkItem
from allocation.service_layer.envelopes import Envelope, EventRecorder
from allocation.service_layer.exceptions import ConcurrentUpdate
from allocation.service_layer.unit_of_work import UnitOfWork, UnitOfWorkScope

LONG_SECONDS = 1.0  # for which all other writers of SQLite may have to wait

logger = logging.getLogger(__name__)


class SqlAlchemyUnitOfWorkScope(UnitOfWorkScope):
    """The transaction of one attempt, in a database."""

    def __init__(self, outbox: SqlAlchemyOutbox, recorder: EventRecorder, work: WorkItem) -> None:
        super().__init__(recorder, work)
        self._database, self._outbox = outbox.database, outbox
        self._resources = AsyncExitStack()
        self._begun = inf

    async def _begin(self) -> Transaction:
        opened = self._database.write_transaction()
        self._transaction = transaction = await self._resources.enter_async_context(opened)
        self._begun = current_time()
        if (command := self._work.records) and command.origin.id is not None:
            await repository.record_command(transaction, self._database.clock, command)
        return transaction

    def _unit_of_work(self) -> UnitOfWork:
        self._user_view = repository.SqlAlchemyUserProjection(self._transaction)
        return UnitOfWork(
            self._transaction,
            users=repository.SqlAlchemyUsers(self._transaction),
            coupon_batches=repository.SqlAlchemyCouponBatches(self._transaction),
            registration_log=repository.SqlAlchemyRegistrationLog(self._transaction),
            user_view=self._user_view,
        )

    async def _write(self, events: Sequence[Envelope]) -> Sequence[Delivery]:
        self._transaction.raise_failure()  # one that a handler has swallowed
        refusals = list(_refusals(self._transaction.seen))  # unreadable after a failed flush
        try:
            await self._transaction.flush()
        except IntegrityError as error:
            raise _as_domain_error(error, refusals) from error
        await self._user_view.write()
        subscribed = [(event, self._event_recorder.subscribers(event)) for event in events]
        claims = await self._outbox.store(self._transaction, subscribed)
        if delivery := self._work.settles:
            await self._outbox.settle_in(self._transaction, delivery)
        command = self._work.records
        if command and command.origin.id is None and self._transaction.has_written:
            await repository.record_command(self._transaction, self._database.clock, command)
        return claims

    async def _commit(self) -> None:
        await self._transaction.commit()

    async def _close(self) -> None:
        await self._resources.aclose()
        seconds = current_time() - self._begun
        if self._database.backend.single_writer and seconds > LONG_SECONDS:
            logger.warning(
                "%s held the only write lock of the database for %.1f s", self._work.name, seconds
            )


def _refusals(seen: Collection[object]) -> Iterator[tuple[str, str, RuleViolation]]:
    """Yield what a violated constraint would mean, with its name and the value it is about.

    Of an import, nobody knows which row it was: run again, it finds the address known.
    """
    is_import = any(isinstance(entity, UserImport) for entity in seen)
    for entity in seen:
        if isinstance(entity, User) and not is_import:
            yield "email_key", repr(entity.email.key), EmailAlreadyRegistered(entity.email)
        if isinstance(entity, Coupon):
            refusal = CouponAlreadyAllocated(entity.user_id)
            yield r"uq_coupons_user_id|coupons\.user_id", entity.user_id.hex, refusal


def _as_domain_error(
    error: IntegrityError, refusals: Iterable[tuple[str, str, RuleViolation]]
) -> RuleViolation | ConcurrentUpdate:
    """Tell the rules that only the database can check from conflicts that a fresh unit resolves."""
    values = str(error.params) + str(error.params).replace("-", "")  # a UUID may have dashes
    for constraint, value, refusal in refusals:
        if re.search(constraint, str(error.orig)) and value in values:
            return refusal
    return ConcurrentUpdate()
