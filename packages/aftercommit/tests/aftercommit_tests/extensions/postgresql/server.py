"""What is asked of a server, and done to it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import psycopg
import pytest
from aftercommit import Database
from sqlalchemy import text

ENOUGH_SECONDS = 60  # for noisy machines
EACH_DRIVER = pytest.mark.parametrize(  # what differs is how it is connected
    "place",
    [("asyncio", "asyncpg"), ("asyncio", "psycopg"), ("trio", "anyio")],
    indirect=True,
    ids="-".join,
)


async def change(database: Database, *statements: str) -> None:
    """Execute statements in one transaction."""
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(text(statement))
        await transaction.commit()


async def value(database: Database, statement: str = "SELECT 1") -> Any:
    """Return the one value that a query finds."""
    async with database.read_transaction() as transaction:
        return (await transaction.execute(text(statement))).scalar_one()


def change_from_outside(url: str, statement: str) -> None:
    """Execute a statement as an operator does, without any of our settings."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def end_connections(url: str) -> None:
    """Let the server drop all other connections to this database, and return when it has."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        while connection.execute(f"SELECT 1 {others}").fetchone():
            pass


@asynccontextmanager
async def listening(database: Database, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Call `wake` at each notification; the body begins when it listens, which is no call."""
    begun = anyio.Event()
    async with database.listen(lambda: wake() if begun.is_set() else begun.set()):
        with anyio.fail_after(ENOUGH_SECONDS):
            await begun.wait()
        yield
