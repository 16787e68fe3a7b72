"""The queries: a function each, which returns read models, never aggregates.

Reading waits for nobody and sees only what is committed. The view of users is kept by event
handlers, so it follows a command a moment later.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aftercommit import Database
from sqlalchemy import String, bindparam, select, type_coerce

from allocation.adapters.orm import UserRow, coupons, user_view
from allocation.adapters.orm import coupon_batches as batches_table
from allocation.adapters.orm import users as users_table
from allocation.domain.coupons import CouponCode
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress


async def find_contact(database: Database, user_id: UserId) -> str:
    """Return the address of a user. See `ports.FindContact`."""
    async with database.read_transaction() as transaction:
        row = (await transaction.execute(_CONTACT, {"user_id": user_id})).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return str(row.email)


_CONTACT = select(users_table.c.email).where(users_table.c.id == bindparam("user_id"))


async def find_coupon_holder(database: Database, code: str) -> str | None:
    """Return the address of who can redeem a coupon. See `ports.FindCouponHolder`."""
    async with database.read_transaction() as transaction:
        found = await transaction.execute(_HOLDER, {"code": CouponCode(code)})
        row = found.one_or_none()
    return row and str(row.email)


_HOLDER = (
    select(users_table.c.email)
    .join(coupons)
    .where(coupons.c.code == bindparam("code"), coupons.c.state == "allocated")
)


async def is_undeliverable(database: Database, email: str) -> bool:
    """Tell whether nothing can be sent to an address. See `user_mailer.IsUndeliverable`."""
    async with database.read_transaction() as transaction:
        found = await transaction.execute(_UNDELIVERABLE, {"key": EmailAddress(email).key})
        return bool(found.scalar_one_or_none())


_UNDELIVERABLE = select(users_table.c.email_undeliverable).where(
    users_table.c.email_key == bindparam("key")
)


def find_subjects(email: str) -> Callable[[Database], Awaitable[Sequence[UserId]]]:
    """Return the query for the user who has this e-mail address now.

    :raises InvalidValue: if it is not an e-mail address
    """
    return partial(_holders_of, key=EmailAddress(email).key)


async def _holders_of(database: Database, key: str) -> Sequence[UserId]:
    async with database.read_transaction() as transaction:
        return (await transaction.execute(_HOLDER_OF, {"key": key})).scalars().all()


_HOLDER_OF = select(users_table.c.id).where(users_table.c.email_key == bindparam("key"))


@asynccontextmanager
async def users(database: Database) -> AsyncIterator[AsyncIterator[UserRow]]:
    """Open an iterator over all users, by e-mail address, in constant memory."""
    statement = select(user_view).order_by(user_view.c.email, user_view.c.user_id)
    async with database.read_transaction() as transaction:
        yield (UserRow(**row._asdict()) async for row in transaction.stream(statement))


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponBatchRow:
    """A coupon batch, and how many coupons are left."""

    reference: str
    quantity: int
    remaining: int


@asynccontextmanager
async def coupon_batches(database: Database) -> AsyncIterator[AsyncIterator[CouponBatchRow]]:
    """Open an iterator over all coupon batches, in the order in which they are used up."""
    row = batches_table.c
    reference = type_coerce(row.reference, String).label("reference")
    statement = select(reference, row.quantity, row.remaining).order_by(reference)
    async with database.read_transaction() as transaction:
        yield (CouponBatchRow(**each._asdict()) async for each in transaction.stream(statement))
