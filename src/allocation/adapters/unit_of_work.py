"""The unit of work on SQLAlchemy: one session, one transaction."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import chain

from sqlalchemy.exc import IntegrityError

from allocation.adapters import repository
from allocation.adapters.database import Session
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.domain.exceptions import CouponAlreadyAllocated, EmailAlreadyRegistered, Refused
from allocation.domain.model import Aggregate
from allocation.service_layer.delivery import Delivery, Trigger
from allocation.service_layer.envelopes import CommandEnvelope, Envelope, EnvelopeFactory
from allocation.service_layer.exceptions import ConcurrentUpdate
from allocation.service_layer.unit_of_work import UnitOfWork


class SqlAlchemyUnitOfWork(UnitOfWork):
    """A unit of work in a database."""

    users: repository.SqlAlchemyUsers
    coupon_batches: repository.SqlAlchemyCouponBatches

    def __init__(
        self, outbox: SqlAlchemyOutbox, factory: EnvelopeFactory, trigger: Trigger
    ) -> None:
        super().__init__(factory, trigger)
        self._database, self._outbox = outbox.database, outbox
        self._resources = AsyncExitStack()

    async def _begin(self) -> None:
        session = self._session = await self._resources.enter_async_context(self._transaction())
        if isinstance(self._trigger, CommandEnvelope):
            await repository.take_note(session, self._database.clock, self._trigger)
        self.users = repository.SqlAlchemyUsers(session)
        self.coupon_batches = repository.SqlAlchemyCouponBatches(session)
        self.registration_log = repository.SqlAlchemyRegistrationLog(session)
        self.user_view = self._user_view = repository.SqlAlchemyUserView(session)

    def _transaction(self) -> AbstractAsyncContextManager[Session]:
        return self._database.writing()

    def _seen(self) -> Iterable[Aggregate]:
        return chain(self.users.seen, self.coupon_batches.seen)

    async def _write(self, events: Sequence[Envelope]) -> None:
        if self._session.driver.failure:  # a handler has swallowed it
            raise self._session.driver.failure
        for batch in self.coupon_batches.seen:
            for coupon in batch.new_coupons:
                self._session.add(coupon)
        refusals = list(self._refusals())  # what they name is unreadable after a failed flush
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise _as_domain_error(error, refusals) from error
        await self._user_view.write()
        subscribed = [(event, self._envelope_factory.subscribers(event)) for event in events]
        await self._outbox.store(self._session, subscribed)
        if isinstance(self._trigger, Delivery):
            await self._outbox.settle_within(self._session, self._trigger)

    async def _commit(self) -> None:
        await self._session.commit()

    def _has_unwritten_work(self) -> bool:
        return super()._has_unwritten_work() or self._session.has_unwritten_work()

    async def _close(self) -> None:
        await self._resources.aclose()

    def _refusals(self) -> Iterator[tuple[str, str, Refused]]:
        """Yield what a violated constraint would mean, with its name and the value it is about."""
        for user in self.users.seen:
            yield "email_key", repr(user.email.key), EmailAlreadyRegistered(user.email)
        for batch in self.coupon_batches.seen:
            for coupon in batch.new_coupons:
                refusal = CouponAlreadyAllocated(coupon.user_id)
                yield r"uq_coupons_user_id|coupons\.user_id", coupon.user_id.hex, refusal


def _as_domain_error(
    error: IntegrityError, refusals: Iterable[tuple[str, str, Refused]]
) -> Refused | ConcurrentUpdate:
    """Tell the rules that only the database can check from conflicts that a fresh unit resolves."""
    values = str(error.params) + str(error.params).replace("-", "")  # a UUID may have dashes
    for constraint, value, refusal in refusals:
        if re.search(constraint, str(error.orig)) and value in values:
            return refusal
    return ConcurrentUpdate()
