# room: web
"""What tests of the room web look at."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Table, select

from allocation.adapters.database import Database


async def stored(database: Database, table: Table) -> Sequence[Row[Any]]:
    """Return the rows of a table."""
    async with database.reading() as session:
        return (await session.execute(select(table))).all()
