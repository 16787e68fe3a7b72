"""The queries of repositories, the registration log and the read model, on a transaction."""

from collections.abc import Collection, Mapping
from functools import cache

import sqlalchemy as sa
from aftercommit import Transaction

from allocation.adapters import orm
from allocation.domain.coupons import BatchReference, CouponBatch
from allocation.domain.events import UserId
from allocation.domain.users import User
from allocation.domain.values import EmailAddress
from allocation.service_layer.ports import CouponBatches, Users


class SqlAlchemyUsers(Users):
    """The users."""

    _store: Transaction

    async def find_by_email(self, emails: Collection[EmailAddress]) -> Mapping[EmailAddress, User]:
        keys = {"keys": [email.key for email in emails]}
        found = await self._store.load_all(_users_by_email(), keys)
        return {user.email: user for user in found}


@cache
def _users_by_email() -> sa.Select[User]:
    keys: sa.BindParameter[str] = sa.bindparam("keys", expanding=True)
    return sa.select(User).where(orm.users.c.email_key.in_(keys))


class SqlAlchemyCouponBatches(CouponBatches):
    """The coupon batches."""

    _store: Transaction

    async def find(self, reference: BatchReference) -> CouponBatch | None:
        await self._write_changes()
        return await self._store.load(_one_batch(), {"reference": reference})

    async def next_available(self) -> CouponBatch | None:
        await self._write_changes()
        load = self._store.load
        batch = await load(_first_available())
        while batch is None and (await self._store.execute(_IS_ANY_AVAILABLE)).scalar_one():
            batch = await load(_first_available())  # the last one was taken while we waited
        return batch or await load(_first_unreported())

    async def _write_changes(self) -> None:
        """Write this unit of work's changes, so that queries see them."""
        if self._store.seen:
            await self._store.flush()


_IS_ANY_AVAILABLE = sa.select(sa.exists().where(orm.coupon_batches.c.remaining > 0))


@cache
def _first_available() -> sa.Select[CouponBatch]:
    available = sa.select(CouponBatch).where(orm.coupon_batches.c.remaining > 0)
    return _locked(available.order_by(orm.coupon_batches.c.reference))


@cache
def _first_unreported() -> sa.Select[CouponBatch]:
    notified = orm.coupon_batches.c.exhaustion_notified_on
    return _locked(sa.select(CouponBatch).order_by(notified.is_not(None), notified.desc()))


@cache
def _one_batch() -> sa.Select[CouponBatch]:
    reference: sa.BindParameter[BatchReference] = sa.bindparam("reference")
    return _locked(sa.select(CouponBatch).where(orm.coupon_batches.c.reference == reference))


def _locked(batches: sa.Select[CouponBatch]) -> sa.Select[CouponBatch]:
    """The first row, as it is under the lock, whatever the transaction has seen of it before."""
    return batches.limit(1).with_for_update().execution_options(populate_existing=True)


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
