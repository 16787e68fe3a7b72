"""Who asks in tests of the extension web, and what they look at."""

from collections.abc import Sequence
from typing import Any

from aftercommit.sql.database import Database
from sqlalchemy import Row, Table, select

TOKEN = "t0ken-of-the-operator"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


async def stored(database: Database, table: Table) -> Sequence[Row[Any]]:
    """Return the rows of a table."""
    async with database.read_transaction() as transaction:
        return (await transaction.execute(select(table))).all()
