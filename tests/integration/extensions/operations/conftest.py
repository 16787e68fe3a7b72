"""The places to store things that this extension works on, and what is stored there."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim
from aftercommit.sql.database import Database

from tests.worlds import SqlWorld, commit_a_registration, sql_world


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SqlWorld]:
    """A new, empty world on each database: fakes are not operated."""
    async with sql_world(database_url) as world:
        yield world


async def commit_events(world: SqlWorld, number: int) -> Sequence[dict[str, Claim]]:
    return [await commit_a_registration(world, email=f"user{n}@example.com") for n in range(number)]


async def settle(world: SqlWorld, committed: Sequence[dict[str, Claim]]) -> None:
    outbox = world.outbox()
    for first in committed:
        for delivery in first.values():
            await outbox.settle(delivery)


async def change(database: Database, *statements: sa.Executable) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(statement)
        await transaction.commit()


async def rows(database: Database, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    async with database.read_transaction() as transaction:
        return (await transaction.execute(statement)).all()
