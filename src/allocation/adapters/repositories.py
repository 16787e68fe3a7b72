"""The queries that need SQL, the registration log and the read model, on a transaction."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from aftercommit import Transaction

from allocation.adapters import orm
from allocation.domain.events import UserId
from allocation.domain.users import User
from allocation.domain.values import EmailAddress
from allocation.service_layer.ports import Users


class SqlAlchemyUsers(Users):
    """The users."""

    _store: Transaction

    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        keys = [email.key for email in emails]
        found = sa.select(User).where(orm.users.c.email_key.in_(keys))
        return {user.email: user for user in await self._store.load_all(found)}


class SqlAlchemyRegistrationLog:
    """The registration log, a table."""

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
        # good. It is FOR NO KEY UPDATE: FOR UPDATE would also wait for those who add a coupon.
        lock = sa.select(orm.users.c.id).where(of_these).order_by(orm.users.c.id)
        await self._transaction.execute(lock.with_for_update(key_share=True))
        await self._transaction.upsert(orm.user_view, orm.user_rows.where(of_these))
