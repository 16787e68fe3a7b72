"""The queries: one function each, which return read models, never aggregates.

Reading waits for nobody and sees only what is committed. The view of users is kept by event
handlers, so it follows a command a moment later.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aftercommit import Database
from sqlalchemy import Select, String, bindparam, select, type_coerce

from allocation.adapters.orm import UserRow, coupons, user_view
from allocation.adapters.orm import coupon_batches as batches_table
from allocation.adapters.orm import users as users_table
from allocation.domain.coupons import CouponCode
from allocation.domain.events import UserId
from allocation.domain.users import UserNotFound
from allocation.domain.values import EmailAddress


async def find_contact(database: Database, user_id: UserId) -> str | None:
    """Return the address of a user. See `ports.FindContact`."""
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(_CONTACT, {"user_id": user_id})).one_or_none()
    if found is None:
        raise UserNotFound(user_id)
    return None if found.email_undeliverable else str(found.email)


_CONTACT = select(users_table.c.email, users_table.c.email_undeliverable).where(
    users_table.c.id == bindparam("user_id")
)


async def find_coupon_holder(database: Database, code: str) -> str | None:
    """Return the address of the user who can redeem a coupon. See `ports.FindCouponHolder`."""
    email = await _one(database, _HOLDER, code=CouponCode(code))
    return None if email is None else str(email)


_HOLDER = (
    select(users_table.c.email)
    .join(coupons)
    .where(coupons.c.code == bindparam("code"), coupons.c.state == "allocated")
    .where(~users_table.c.email_undeliverable)
)


async def holders_of(database: Database, address: EmailAddress) -> Sequence[UserId]:
    """Return the user who now has this e-mail address, if there is one."""
    user_id = await _one(database, _HOLDER_OF, key=address.key)
    return [] if user_id is None else [user_id]


_HOLDER_OF = select(users_table.c.id).where(users_table.c.email_key == bindparam("key"))


async def _one(database: Database, statement: Select[Any], **parameters: object) -> Any:
    """Return the only value that a query finds, or None."""
    async with database.read_transaction() as transaction:
        return (await transaction.execute(statement, parameters)).scalar_one_or_none()


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
