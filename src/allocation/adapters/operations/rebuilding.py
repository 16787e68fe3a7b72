"""Makes the read model of users anew from the aggregates, while registrations go on."""

from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.operations import batches
from allocation.adapters.orm import user_view, users
from allocation.adapters.repository import SqlAlchemyUserView
from allocation.domain.events import UserId


async def count_users(database: Database) -> int:
    """Return how many users there are."""
    async with database.reading() as session:
        found = await session.execute(sa.select(sa.func.count()).select_from(users))
        number: int = found.scalar_one()
    return number


async def rebuild_users(database: Database, told: Callable[[int], object]) -> int:
    """Refresh the row of each user who was there at the begin, and return how many there were.

    Rows of nobody go. Users who register meanwhile, and changes, have their own refresh, which
    waits for this one or the other way round. `told` hears of each batch when it is committed.
    """
    rebuild = partial(_rebuild_page, database, told)
    return await batches.in_batches(rebuild, UserId(UUID(int=0)))


async def _rebuild_page(
    database: Database, told: Callable[[int], object], first: UserId
) -> tuple[int, UserId | None]:
    ordered = sa.select(users.c.id).where(users.c.id >= first).order_by(users.c.id)
    async with database.writing() as session:
        found = await session.execute(ordered.limit(batches.BATCH_ROWS + 1))
        ids: Sequence[UserId] = found.scalars().all()
        page, following = ids[: batches.BATCH_ROWS], next(iter(ids[batches.BATCH_ROWS :]), None)
        view = SqlAlchemyUserView(session)
        for user_id in page:
            await view.refresh(user_id)
        await view.write()
        await _remove_rows_of_nobody(session, first, following)
        await session.commit()
    told(len(page))
    return len(page), following


async def _remove_rows_of_nobody(session: Session, first: UserId, end: UserId | None) -> None:
    column = user_view.c.user_id
    here = column >= first if end is None else sa.and_(column >= first, column < end)
    somebody = sa.exists().where(users.c.id == column)
    await session.write(sa.delete(user_view).where(here, ~somebody))
