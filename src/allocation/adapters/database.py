"""The database: its transactions, how they share connections, and in which order they wait.

Two traps are handled here, so that no other module has to know them:

- SQLite has one writer at a time. A transaction that begins as a reader and then writes fails with
  "database is locked" whatever the busy timeout, so a writing one says so in its BEGIN; writers of
  this process wait in line for each other instead of spinning.
- A pool that is exhausted fails after a while, and cannot be left while one waits in it. So tasks
  wait in line before it, for as long as it takes.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from os import getpid
from socket import gethostname
from typing import Any, TypeVar, cast

import anyio
import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.sql import Executable

from allocation.adapters.calls import DriverCalls
from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from allocation.adapters.kinds import DatabaseKind, kind_of
from allocation.domain.exceptions import InvalidValue

T = TypeVar("T")

POOL_SIZE = 10
STREAM_ROWS = 500
HANDLER_SECONDS = 20.0


class Session:
    """One transaction: SQLAlchemy's session, by `DriverCalls`, which say what is raised."""

    def __init__(
        self,
        session: AsyncSession,
        connection: AsyncConnection,
        kind: DatabaseKind,
        driver: DriverCalls,
    ) -> None:
        self.add: Callable[[object], None] = session.add
        self.driver = driver
        self._session, self._connection = session, connection
        self._kind = kind

    def has_unwritten_work(self) -> bool:
        """Tell whether something was added or changed that is not written yet."""
        return bool(self._session.new or self._session.dirty)

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the entity with this primary key, or None."""
        return await self.driver.call(self._session.get, entity, key)

    async def load(self, statement: sa.Select[T]) -> T | None:
        """Return the one entity that a query finds, or None."""
        result = await self.driver.call(self._session.execute, statement)
        entity: T | None = result.scalar_one_or_none()
        return entity

    async def execute(self, statement: Executable, rows: Any = None) -> sa.Result[Any]:
        """Execute a statement on tables, once or for each of the rows; fetch what it returns."""
        return await self.driver.call(self._connection.execute, statement, rows)

    async def execute_by_commit(self, statement: Executable, rows: Any = None) -> None:
        """Execute what nobody has to know the result of: now, or with the commit at the latest."""
        await self.execute(statement, rows)

    async def execute_if_needed(self, statement: Executable | None) -> None:
        """Execute what some kinds of databases do not need."""
        if statement is not None:
            await self.execute(statement)

    async def write(self, statement: sa.Update | sa.Delete, rows: Any = None) -> int:
        """Execute an update or delete, and return how many rows it hit."""
        return cast("sa.CursorResult[Any]", await self.execute(statement, rows)).rowcount

    async def stream(self, statement: Executable) -> AsyncIterator[sa.Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        await self.execute_if_needed(self._kind.take_pauses)
        result = await self.driver.call(self._connection.stream, statement)
        while rows := await self.driver.call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function that wants a synchronous connection, such as a migration."""
        return await self.driver.call(self._connection.run_sync, function)

    async def flush(self) -> None:
        """Write what was added and changed."""
        await self.driver.call(self._session.flush)

    async def commit(self) -> None:
        """Commit the transaction.

        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        try:
            await self.driver.call(self._session.commit)
        except ConnectionLost as error:
            raise CommitOutcomeUnknown from error


class Database:
    """An engine, the rules to use it by, and who uses it: `process` is NAME@HOST:PID."""

    def __init__(
        self,
        engine: AsyncEngine,
        kind: DatabaseKind,
        *,
        process: str,
        connections: int = POOL_SIZE,
        clock: sa.ColumnElement[float] | None = None,
    ) -> None:
        self.engine = engine
        self.kind = kind
        self.process = process
        self.listening = partial(kind.listening, engine)
        self.clock = sa.literal_column(kind.clock, sa.Double()) if clock is None else clock
        self._reading_engine = engine.execution_options(sqlite_begin="BEGIN")
        self._queue = anyio.Semaphore(connections, fast_acquire=True)
        self._writer = anyio.Lock(fast_acquire=True) if kind.one_writer else nullcontext()

    @asynccontextmanager
    async def writing(self, *, takes_time: bool = False) -> AsyncIterator[Session]:
        """Open a transaction that may write; without a commit it is rolled back.

        If it takes time, such as a migration, each statement may take as long as it needs.
        """
        async with self._writer, self._transaction(self.engine, takes_time=takes_time) as session:
            if takes_time:
                await session.execute_if_needed(self.kind.take_time)
            yield session

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """Open a transaction that only reads, and waits for no writer."""
        return self._transaction(self._reading_engine)

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, *, takes_time: bool = False
    ) -> AsyncIterator[Session]:
        session = AsyncSession(engine, expire_on_commit=False, autoflush=False)
        driver = self.kind.driver_calls(takes_time=takes_time)
        async with self._queue:
            try:
                connection = await driver.connect(session.connection)
                yield Session(session, connection, self.kind, driver)
            finally:
                with CancelScope(shield=True):
                    try:
                        await driver.call(session.close)
                    except DatabaseUnavailable:  # it is lost: the server rolls back by itself
                        await driver.call(session.invalidate)


@asynccontextmanager
async def open_database(
    url: str,
    *,
    connections: int = POOL_SIZE,
    handler_timeout: float = HANDLER_SECONDS,
    process_name: str | None = None,
) -> AsyncIterator[Database]:
    """Open the database at `url`, and close it at the end. Nothing is connected before first use.

    Nothing waits longer for the database than a handler may take, about.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    kind = kind_of(url, handler_timeout=handler_timeout)
    size = connections + 1  # one listens
    process = "@".join(filter(None, (process_name, f"{gethostname()}:{getpid()}")))
    try:
        engine = kind.new_engine(process, pool_size=size, max_overflow=0, hide_parameters=True)
    except ValueError as error:
        raise InvalidValue("database URL", f"has an option that is wrong: {error}") from None
    async with kind.in_use():
        try:
            yield Database(engine, kind, process=process, connections=connections)
        finally:
            with CancelScope(shield=True):
                await engine.dispose()
