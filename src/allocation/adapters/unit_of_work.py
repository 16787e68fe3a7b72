"""The unit of work on SQLAlchemy: one session, one transaction."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy.exc import IntegrityError

from allocation.adapters import outbox, repository
from allocation.adapters.database import Database
from allocation.domain.exceptions import AllocationError, EmailAlreadyRegistered
from allocation.domain.model import Aggregate
from allocation.domain.values import EmailAddress
from allocation.service_layer.delivery import DeliveryPolicy
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.exceptions import ChangedWhileReading, ConcurrentUpdate
from allocation.service_layer.unit_of_work import UnitOfWork


class SqlAlchemyUnitOfWork(UnitOfWork):
    """A unit of work in a database."""

    users: repository.SqlAlchemyUsers
    coupon_batches: repository.SqlAlchemyCouponBatches

    # what comes last are the arguments of `UnitOfWork`
    def __init__(self, database: Database, policy: DeliveryPolicy, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._database = database
        self._policy = policy
        self._resources = AsyncExitStack()

    async def _begin(self) -> None:
        session = await self._resources.enter_async_context(self._database.writing())
        self._session = session
        if self._received:
            await repository.remember(session, self._database.clock, self._received)
        self.users = repository.SqlAlchemyUsers(session)
        self.coupon_batches = repository.SqlAlchemyCouponBatches(session)
        self.registration_log = repository.SqlAlchemyRegistrationLog(session)
        self.user_view = repository.SqlAlchemyUserView(session)

    def _seen(self) -> Iterable[Aggregate]:
        return chain(self.users.seen, self.coupon_batches.seen)

    async def _write(self, events: Sequence[Envelope]) -> None:
        if self._session.driver.failure:  # a handler has swallowed it
            raise self._session.driver.failure
        for batch in self.coupon_batches.seen:
            self._session.add_all(batch.new_coupons)
        addresses = [user.email for user in self.users.seen]  # unreadable after a failed flush
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise _as_domain_error(error, addresses) from error
        subscribed = [(event, self._envelope_factory.subscribers(event)) for event in events]
        await outbox.store(self._session, self._database.clock, self._policy, subscribed)
        if events and not self._policy.inline:
            await self._session.execute_if_needed(self._database.kind.wake_workers)
        if self._delivery:
            await outbox.settle(self._session, self._delivery)

    async def _commit(self) -> None:
        await self._session.commit()

    def _has_unwritten_work(self) -> bool:
        return super()._has_unwritten_work() or self._session.has_unwritten_work()

    async def _close(self) -> None:
        await self._resources.aclose()


@dataclass(frozen=True, slots=True)
class SqlAlchemyStored:
    """What is stored, in a reading transaction."""

    users: repository.SqlAlchemyStoredUsers


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[SqlAlchemyStored]:
    """Look things up. See `ports.Reading`."""
    async with database.reading() as session:
        yield SqlAlchemyStored(repository.SqlAlchemyStoredUsers(session))
        if session.has_unwritten_work():
            raise ChangedWhileReading


def _as_domain_error(error: IntegrityError, addresses: list[EmailAddress]) -> AllocationError:
    """Tell the conflict that users cause from those that a fresh unit of work resolves."""
    if "email_key" in str(error.orig):
        for address in addresses:
            if repr(address.key) in str(error.params):
                return EmailAlreadyRegistered(address)
    return ConcurrentUpdate()
