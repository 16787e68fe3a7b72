"""The queries: functions that return committed rows, and never aggregates."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from aftercommit import Database

from loyalty.adapters import orm


@dataclass(frozen=True)
class AccountRow:
    """The points of a user."""

    user_id: UUID
    points: int


async def accounts(database: Database) -> list[AccountRow]:
    """Return the points of all users, those with most points first."""
    table = orm.accounts.c
    chosen = sa.select(table.id.label("user_id"), table.points).order_by(-table.points, table.id)
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(chosen)).mappings()
        return [AccountRow(**row) for row in found]


async def statistics(database: Database) -> dict[str, int]:
    """Return how many points were collected, and how many rewards were earned."""
    async with database.read_transaction() as transaction:
        rows = (await transaction.execute(sa.select(orm.statistics))).mappings()
        return {row["name"]: row["count"] for row in rows}
