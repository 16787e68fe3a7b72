"""The registration in plain SQL on SQLAlchemy, as one would write it, and on drivers alone.

No layer above a driver can be faster than the driver alone.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import asyncpg
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.registration_by_hand_statements import (
    Execute,
    Registration,
    Values,
    new_hex,
    statements,
)

POOL = 10
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


@asynccontextmanager
async def by_sqlalchemy(url: str) -> AsyncIterator[Registration]:
    """Open an engine with a pool, and return a function that registers a user."""
    is_sqlite = url.startswith("sqlite")
    with_driver = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(with_driver, pool_size=POOL, max_overflow=0, pool_timeout=60)
    if is_sqlite:
        _set_up_sqlite(engine)
    reader = engine.execution_options(begin="BEGIN")
    writer: Any = anyio.Lock() if is_sqlite else nullcontext()
    prepared = statements("sqlite" if is_sqlite else "postgresql")
    texts = {name: text(sql) for name, sql in prepared.items()}

    @asynccontextmanager
    async def transaction(*, reads: bool = False) -> AsyncIterator[Execute]:
        turn, begun = (nullcontext(), reader.begin()) if reads else (writer, engine.begin())
        async with turn, begun as connection:

            async def execute(name: str, *values: Values) -> Sequence[Any] | None:
                result = await connection.execute(texts[name], list(values))
                return result.first() if result.returns_rows else None

            yield execute

    try:
        yield Registration(transaction, new_hex if is_sqlite else uuid4)
    finally:
        await engine.dispose()


def _set_up_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.cursor().execute(f"PRAGMA {pragma}")

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        how = connection.get_execution_options().get("begin", "BEGIN IMMEDIATE")
        connection.exec_driver_sql(how)


@asynccontextmanager
async def by_sqlite3(url: str) -> AsyncIterator[Registration]:
    """Open a connection in this thread; return a function that registers a user, one at a time."""
    texts = statements("sqlite")
    with sqlite_connection(url.partition(":///")[2]) as connection:

        async def execute(name: str, *values: Values) -> Sequence[Any] | None:
            if len(values) > 1:
                connection.executemany(texts[name], values)
                return None
            row: Sequence[Any] | None = connection.execute(texts[name], *values).fetchone()
            return row

        @asynccontextmanager
        async def transaction(*, reads: bool = False) -> AsyncIterator[Execute]:
            connection.execute("BEGIN" if reads else "BEGIN IMMEDIATE")
            yield execute
            connection.execute("COMMIT")

        yield Registration(transaction, new_hex)


def sqlite_connection(file: str | Path) -> closing[sqlite3.Connection]:
    """Open a connection without transactions of its own, set up as all others are."""
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return closing(connection)


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Registration]:
    """Open a pool as large as the others', and return a function that registers a user."""
    texts = {name: numbered(sql) for name, sql in statements("postgresql").items()}
    async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:

        @asynccontextmanager
        async def transaction(*, reads: bool = False) -> AsyncIterator[Execute]:
            async with pool.acquire() as connection, connection.transaction():

                async def execute(name: str, *values: Values) -> Sequence[Any] | None:
                    sql, names = texts[name]
                    in_order = [[each[name] for name in names] for each in values]
                    if len(values) > 1:
                        await connection.executemany(sql, in_order)
                        return None
                    row: Sequence[Any] | None = await connection.fetchrow(sql, *chain(*in_order))
                    return row

                yield execute

        yield Registration(transaction, uuid4)


def numbered(sql: str) -> tuple[str, Sequence[str]]:
    """Return a statement with $1 in place of :name, and the names in their order."""
    names = list(dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql)))
    return re.sub(r"(?<!:):(\w+)", lambda found: f"${names.index(found[1]) + 1}", sql), names
