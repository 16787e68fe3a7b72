"""The queries of this room. Users are read from their own tables, not from the view of users.

Who has just registered follows the `Location` at once, and the view is kept a moment later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.orm import commands, coupons, users
from allocation.domain.events import UserId
from allocation.domain.exceptions import UserNotFound
from allocation.domain.values import EmailAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUser:
    """A user and the coupon, if there is one by now."""

    user_id: UUID
    name: str
    email: str
    coupon: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is known of a command that was accepted before."""

    fingerprint: str | None
    correlation_id: UUID


async def user(database: Database, user_id: UserId) -> StoredUser:
    """Return one user.

    :raises UserNotFound: if there is none
    """
    async with database.reading() as session:
        row = (await session.execute(_USERS.where(users.c.id == user_id))).one_or_none()
    if row is None:
        raise UserNotFound(user_id)
    return _stored_user(row)


async def users_page(
    database: Database, *, email: EmailAddress | None, after: UUID | None, limit: int
) -> Sequence[StoredUser]:
    """Return the next users by id, at most `limit`: by an index, so no page is slower than others.

    With an address it is that of one user, or of none.
    """
    page = _USERS.order_by(users.c.id).limit(limit)
    page = page if after is None else page.where(users.c.id > after)
    page = page if email is None else page.where(users.c.email_key == email.key)
    async with database.reading() as session:
        return [_stored_user(row) for row in (await session.execute(page)).all()]


async def accepted(database: Database, source: str, message_id: str | None) -> Accepted | None:
    """Return the command that was accepted under this id, if there is one."""
    this = commands.c.source == source, commands.c.message_id == message_id
    statement = sa.select(commands.c.fingerprint, commands.c.correlation_id).where(*this)
    async with database.reading() as session:
        row = (await session.execute(statement)).one_or_none()
    return row and Accepted(row.fingerprint, row.correlation_id)


_USERS = sa.select(
    users.c.id.label("user_id"), users.c.name, users.c.email, coupons.c.code.label("coupon")
).outerjoin_from(users, coupons)


def _stored_user(row: sa.Row[Any]) -> StoredUser:
    return StoredUser(
        user_id=row.user_id, name=str(row.name), email=str(row.email), coupon=row.coupon
    )
