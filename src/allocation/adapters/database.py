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
from typing import Any, TypeVar, cast

import anyio
import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.sql import Executable

from allocation.adapters.calls import DriverCalls
from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from allocation.adapters.kinds import DatabaseKind, kind_of, new_engine

T = TypeVar("T")

POOL_SIZE = 10
STREAM_ROWS = 500
HANDLER_SECONDS = 20.0


class Session:
    """One transaction: SQLAlchemy's session, with every call shielded and every error ours.

    What is raised by its methods, says `DriverCalls.call`.
    """

    def __init__(self, session: AsyncSession, kind: DatabaseKind, driver: DriverCalls) -> None:
        self.add, self.add_all = session.add, session.add_all
        self.driver = driver
        self._session = session
        self._kind = kind

    def has_unwritten_work(self) -> bool:
        """Tell whether something was added or changed since the last flush."""
        return bool(self._session.new or self._session.dirty)

    async def begin(self) -> None:
        """Check a connection out and begin the transaction."""
        await self.driver.connect(self._session.connection)

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the entity with this primary key, or None."""
        return await self.driver.call(self._session.get, entity, key)

    async def execute(self, statement: Executable, rows: Any = None) -> sa.Result[Any]:
        """Execute a statement, once or for each of the rows, and fetch what it returns."""
        return await self.driver.call(self._session.execute, statement, rows)

    async def execute_if_needed(self, statement: Executable | None) -> None:
        """Execute what some kinds of databases do not need."""
        if statement is not None:
            await self.execute(statement)

    async def write(self, statement: sa.Update | sa.Delete) -> int:
        """Execute an update or delete, and return how many rows it hit."""
        return cast("sa.CursorResult[Any]", await self.execute(statement)).rowcount

    async def stream(self, statement: Executable) -> AsyncIterator[sa.Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        await self.execute_if_needed(self._kind.take_pauses)
        result = await self.driver.call(self._session.stream, statement)
        while rows := await self.driver.call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function that wants a synchronous connection, such as a migration."""
        connection = await self.driver.call(self._session.connection)
        return await self.driver.call(connection.run_sync, function)

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

    async def close(self) -> None:
        """Roll back what was not committed, and give the connection back. Not interruptible.

        A connection that is lost is given up: the server rolls back by itself.
        """
        with CancelScope(shield=True):
            try:
                await self.driver.call(self._session.close)
            except DatabaseUnavailable:
                await self.driver.call(self._session.invalidate)


class Database:
    """An engine and the rules to use it by."""

    def __init__(
        self,
        engine: AsyncEngine,
        kind: DatabaseKind,
        *,
        connections: int = POOL_SIZE,
        clock: sa.ColumnElement[float] | None = None,
    ) -> None:
        self.engine = engine
        self.kind = kind
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

    def listening(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """Call `wake` when another process has committed deliveries, on databases that can.

        It is only a hint: one may be lost, and one may come for nothing. The connection it takes is
        beside those that transactions wait in line for; if it is lost, there is soon another one.

        :raises Unavailable: if the database cannot be reached at first
        """
        return self.kind.listening(self.engine, wake)

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, *, takes_time: bool = False
    ) -> AsyncIterator[Session]:
        orm_session = AsyncSession(engine, expire_on_commit=False, autoflush=False)
        driver = self.kind.driver_calls(takes_time=takes_time)
        session = Session(orm_session, self.kind, driver)
        async with self._queue:
            try:
                await session.begin()
                yield session
            finally:
                await session.close()


@asynccontextmanager
async def open_database(
    url: str, *, connections: int = POOL_SIZE, handler_timeout: float = HANDLER_SECONDS
) -> AsyncIterator[Database]:
    """Open the database at `url`, and close it at the end. Nothing is connected before first use.

    Nothing waits longer for the database than a handler may take, about.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    kind = kind_of(url, handler_timeout=handler_timeout)
    engine = new_engine(kind, connections=connections + 1)  # one listens
    async with kind.in_use():
        try:
            yield Database(engine, kind, connections=connections)
        finally:
            with CancelScope(shield=True):
                await engine.dispose()
