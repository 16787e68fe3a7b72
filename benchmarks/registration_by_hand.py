"""The registration in plain SQL on SQLAlchemy: an engine, a pool, statements prepared once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any
from uuid import uuid4

import anyio
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from benchmarks.registration_sql import Execute, Registration, Values, new_hex, statements

POOL = 10
PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
RETURNING = ("find user", "find batch", "lock user")


@asynccontextmanager
async def by_sqlalchemy(url: str) -> AsyncIterator[Registration]:
    """Open an engine, and return what registers a user on it."""
    sqlite = url.startswith("sqlite")
    engine = create_async_engine(url, pool_size=POOL, max_overflow=0, pool_timeout=60)
    if sqlite:
        _set_up_sqlite(engine)
    opening = _Transactions(engine, "sqlite" if sqlite else "postgresql")
    try:
        yield Registration(opening, new_hex if sqlite else uuid4)
    finally:
        await engine.dispose()


class _Transactions:
    def __init__(self, engine: AsyncEngine, dialect: str) -> None:
        self._engine, self._reader = engine, engine.execution_options(begin="BEGIN")
        self._texts = {name: text(sql) for name, sql in statements(dialect).items()}
        self._writer: Any = anyio.Lock() if dialect == "sqlite" else nullcontext()

    def __call__(self, *, reads: bool = False) -> AbstractAsyncContextManager[Execute]:
        return self._begun(self._reader, nullcontext()) if reads else self._writing()

    def _writing(self) -> AbstractAsyncContextManager[Execute]:
        return self._begun(self._engine, self._writer)

    @asynccontextmanager
    async def _begun(self, engine: AsyncEngine, turn: Any) -> AsyncIterator[Execute]:
        async with turn, engine.begin() as connection:

            async def execute(name: str, *values: Values) -> Sequence[Any] | None:
                return await self._execute(connection, name, values)

            yield execute

    async def _execute(
        self, connection: AsyncConnection, name: str, values: Sequence[Values]
    ) -> Sequence[Any] | None:
        result = await connection.execute(self._texts[name], [dict(each) for each in values])
        return result.first() if name in RETURNING else None


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
