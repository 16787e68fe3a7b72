"""The database connection: how it is shared and timed. Used by the adapters.

Two traps are handled here, so that no other module has to know them:

- SQLite has one writer at a time. A transaction that begins as a reader and then writes fails with
  "database is locked" whatever the busy timeout, so a writing one says so in its BEGIN; writers of
  this process wait in line for each other instead of spinning.
- A pool that is exhausted fails after a while, and cannot be left while one waits in it. So tasks
  wait in line before it, for as long as it takes.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar, cast

import anyio
from anyio import CancelScope
from sqlalchemy import Connection, CursorResult, Delete, Result, Row, Update, func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.sql import Executable
from sqlalchemy.sql.expression import ColumnElement

from allocation.adapters.calls import driver_call
from allocation.adapters.clock import DatabaseClock
from allocation.adapters.engines import new_engine
from allocation.adapters.listening import CHANNEL, listening
from allocation.domain.exceptions import (
    CommitOutcomeUnknown,
    ConcurrentUpdate,
    ConnectionLost,
    DatabaseUnavailable,
)

T = TypeVar("T")

POOL_SIZE = 10
DRIVER_STOP_SECONDS = 0.05
STREAM_ROWS = 500


class Session:
    """One transaction: SQLAlchemy's session, with every call shielded and every error ours."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def add(self, instance: object) -> None:
        """Insert `instance` with the next flush."""
        self._session.add(instance)

    def add_all(self, instances: Iterable[object]) -> None:
        """Insert all of `instances` with the next flush."""
        self._session.add_all(instances)

    def has_unwritten_work(self) -> bool:
        """Tell whether something was added or changed since the last flush."""
        return bool(self._session.new or self._session.dirty)

    async def begin(self) -> None:
        """Check a connection out and begin the transaction."""
        try:
            await driver_call(self._session.connection)
        except ConcurrentUpdate:
            raise
        except Exception as error:  # drivers are free in what they raise while connecting
            # aiosqlite's thread still tells the event loop that it stops: let it be there for that
            with CancelScope(shield=True):
                await anyio.sleep(DRIVER_STOP_SECONDS)
            if isinstance(error, DatabaseUnavailable):
                raise
            raise DatabaseUnavailable(str(error)) from error

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the entity with this primary key, or None."""
        return await driver_call(self._session.get, entity, key)

    async def execute(self, statement: Executable, rows: Any = None) -> Result[Any]:
        """Execute a statement, once or for each of the rows, and fetch what it returns."""
        return await driver_call(self._session.execute, statement, rows)

    async def write(self, statement: Update | Delete) -> int:
        """Execute an update or delete, and return how many rows it hit."""
        result = await self.execute(statement)
        return cast("CursorResult[Any]", result).rowcount

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        result = await driver_call(self._session.stream, statement)
        while rows := await driver_call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[Connection], T]) -> T:
        """Run a function that wants a synchronous connection, such as a migration."""
        connection = await driver_call(self._session.connection)
        return await driver_call(connection.run_sync, function)

    async def flush(self) -> None:
        """Write what was added and changed.

        :raises ConcurrentUpdate: if a row has changed since it was read
        :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
        """
        await driver_call(self._session.flush)

    async def commit(self) -> None:
        """Commit the transaction.

        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        try:
            await driver_call(self._session.commit)
        except ConnectionLost as error:
            raise CommitOutcomeUnknown from error

    async def notify(self) -> None:
        """Wake the workers with the commit, on databases that can."""
        if self._dialect == "postgresql":
            await self.execute(select(func.pg_notify(CHANNEL, "")))

    async def lock_schema(self) -> None:
        """Wait for others that change the schema; SQLite's writers do so anyway."""
        if self._dialect == "postgresql":
            await self.execute(select(func.pg_advisory_xact_lock(func.hashtext("allocation"))))

    async def close(self) -> None:
        """Roll back what was not committed, and give the connection back. Not interruptible."""
        with CancelScope(shield=True):
            await driver_call(self._session.close)


class Database:
    """An engine and the rules to use it by."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        connections: int = POOL_SIZE,
        clock: ColumnElement[float] | None = None,
    ) -> None:
        self.engine = engine
        self.clock = DatabaseClock() if clock is None else clock
        self._reading_engine = engine.execution_options(sqlite_begin="BEGIN")
        self._line = anyio.Semaphore(connections, fast_acquire=True)
        is_sqlite = engine.dialect.name == "sqlite"
        self._writer = anyio.Lock(fast_acquire=True) if is_sqlite else nullcontext()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Session]:
        """Open a transaction that may write; without a commit it is rolled back."""
        async with self._writer, self._transaction(self.engine) as session:
            yield session

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """Open a transaction that only reads, and waits for no writer."""
        return self._transaction(self._reading_engine)

    def listening(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call `wake` when another process has committed deliveries, on databases that can.

        It is only a hint: one may be lost, and one may come for nothing. The connection it takes is
        beside those that transactions wait in line for.

        :raises Unavailable: if the database cannot be reached
        """
        if self.engine.dialect.name == "postgresql":
            return listening(self.engine, wake)
        return nullcontext()

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[Session]:
        async with self._line, _session(engine) as session:
            yield session


@asynccontextmanager
async def _session(engine: AsyncEngine) -> AsyncIterator[Session]:
    session = Session(AsyncSession(engine, expire_on_commit=False, autoflush=False))
    try:
        await session.begin()
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def open_database(url: str, *, connections: int = POOL_SIZE) -> AsyncIterator[Database]:
    """Open the database at `url`, and close it at the end. Nothing is connected before first use.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    engine = new_engine(url, connections=connections + 1)  # one listens
    try:
        yield Database(engine, connections=connections)
    finally:
        with CancelScope(shield=True):
            await engine.dispose()
