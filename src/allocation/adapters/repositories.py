"""The unit of work in a database, and the repositories that need SQL of their own."""

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from aftercommit import Refusals, Transaction

from allocation.adapters import orm
from allocation.domain.coupons import Coupon, CouponAlreadyAllocated
from allocation.domain.events import UserId
from allocation.domain.users import EmailAlreadyRegistered, User
from allocation.domain.values import EmailAddress
from allocation.service_layer.ports import Users
from allocation.service_layer.unit_of_work import UnitOfWork


def unit_of_work(transaction: Transaction) -> UnitOfWork:
    """Return the repositories on a transaction: the engine opens one for each attempt."""
    transaction.refusals = refusals
    return UnitOfWork(
        transaction,
        users=SqlAlchemyUsers(transaction),
        registration_log=SqlAlchemyRegistrationLog(transaction),
        user_view=SqlAlchemyUserProjection(transaction),
    )


def refusals(seen: Sequence[object]) -> Refusals:
    """Return the rules that only the database can check, by the name of the constraint.

    If several users are stored, nobody knows which one violated it. Then it is a conflict, and the
    handler runs again: it finds the address now.
    """
    meanings: dict[str, Exception] = {}
    match [entity for entity in seen if isinstance(entity, User)]:
        case [user]:
            meanings["uq_users_email_key"] = EmailAlreadyRegistered(user.email)
    match [*{entity.user_id for entity in seen if isinstance(entity, Coupon)}]:
        case [user_id]:
            meanings["uq_coupons_user_id"] = CouponAlreadyAllocated(user_id)
    return meanings


class SqlAlchemyUsers(Users):
    """The users, in a table."""

    _store: Transaction

    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        keys = [email.key for email in emails]
        found = sa.select(User).where(orm.users.c.email_key.in_(keys))
        return {user.email: user for user in await self._store.load_all(found)}


class SqlAlchemyRegistrationLog:
    """The registration log, in a table."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def append(self, user_id: UserId, email: str) -> None:
        await self._transaction.execute(_LOG, {"user_id": user_id, "email": email})


_LOG = sa.insert(orm.registration_log)


class SqlAlchemyUserProjection:
    """The read model of users, a table that `views.py` reads: see `orm.UserRow`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def refresh(self, *user_ids: UserId) -> None:
        await self._transaction.flush()
        of_these = orm.users.c.id.in_(user_ids)
        # Refreshes of one user wait for each other, in the order of ids. Without the lock, one that
        # began before a coupon was committed could wait for the row, and then hide the coupon for
        # good. It is FOR NO KEY UPDATE, as FOR UPDATE would also wait for INSERTs of coupons.
        lock = sa.select(orm.users.c.id).where(of_these).order_by(orm.users.c.id)
        await self._transaction.execute(lock.with_for_update(key_share=True))
        await self._transaction.upsert(orm.user_view, orm.user_rows.where(of_these))
