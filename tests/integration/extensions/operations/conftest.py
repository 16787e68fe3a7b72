"""Changes and queries, for tests of the application."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from aftercommit.sql.database import Database


async def change(database: Database, *statements: sa.Executable) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(statement)
        await transaction.commit()


async def rows(database: Database, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    async with database.read_transaction() as transaction:
        return (await transaction.execute(statement)).all()
