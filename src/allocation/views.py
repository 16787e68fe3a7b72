"""The queries: a function each, which returns read models, never aggregates.

Reading waits for nobody and sees only what is committed. The view of users is kept by event
handlers, so it follows a command a moment later.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from allocation.adapters.database import Database
from allocation.adapters.orm import user_view


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user and the coupon, if there is one."""

    user_id: UUID
    name: str
    email: str
    coupon: str | None


@asynccontextmanager
async def users(database: Database) -> AsyncIterator[AsyncIterator[UserRow]]:
    """Open an iterator over all users, by e-mail address, in constant memory."""
    statement = select(user_view).order_by(user_view.c.email, user_view.c.user_id)
    async with database.reading() as session:
        yield (UserRow(**row._asdict()) async for row in session.stream(statement))
