"""The database connection: how it is shared and timed. Used by the adapters.

Two traps are handled here, so that no other module has to know them:

- SQLite has one writer at a time. A transaction that begins as a reader and then writes fails with
  "database is locked" whatever the busy timeout, so a writing one says so in its BEGIN; writers of
  this process wait in line for each other instead of spinning.
- A pool that is exhausted fails after a while, and cannot be left while one waits in it. So tasks
  wait in line before it, for as long as it takes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from math import inf
from typing import Any, ParamSpec, TypeVar, cast

import anyio
from anyio import CancelScope
from sqlalchemy import (
    Connection,
    CursorResult,
    Delete,
    Double,
    Result,
    Row,
    Update,
    literal_column,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.sql import Executable
from sqlalchemy.sql.expression import ColumnElement

from allocation.adapters.calls import Line, driver_call, driver_connect
from allocation.adapters.engines import kind_of, new_engine
from allocation.adapters.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from allocation.adapters.kinds import DatabaseKind

P = ParamSpec("P")
T = TypeVar("T")

POOL_SIZE = 10
STREAM_ROWS = 500
HANDLER_SECONDS = 20.0


class Session:
    """One transaction: SQLAlchemy's session, with every call shielded and every error ours."""

    def __init__(self, session: AsyncSession, line: Line, kind: DatabaseKind) -> None:
        self.failure: Exception | None = None  # the last; PostgreSQL then answers COMMIT with OK
        self._session = session
        self._line = line
        self._kind = kind

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
        await driver_connect(self._line, self._session.connection)

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the entity with this primary key, or None."""
        return await self._call(self._session.get, entity, key)

    async def execute(self, statement: Executable, rows: Any = None) -> Result[Any]:
        """Execute a statement, once or for each of the rows, and fetch what it returns."""
        return await self._call(self._session.execute, statement, rows)

    async def write(self, statement: Update | Delete) -> int:
        """Execute an update or delete, and return how many rows it hit."""
        result = await self.execute(statement)
        return cast("CursorResult[Any]", result).rowcount

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        await self._if_needed(self._kind.take_pauses)
        result = await self._call(self._session.stream, statement)
        while rows := await self._call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[Connection], T]) -> T:
        """Run a function that wants a synchronous connection, such as a migration."""
        connection = await self._call(self._session.connection)
        return await self._call(connection.run_sync, function)

    async def flush(self) -> None:
        """Write what was added and changed.

        :raises ConcurrentUpdate: if a row has changed since it was read
        :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
        """
        await self._call(self._session.flush)

    async def commit(self) -> None:
        """Commit the transaction.

        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        try:
            await self._call(self._session.commit)
        except ConnectionLost as error:
            raise CommitOutcomeUnknown from error
        self._line.connection = None  # it is somebody else's now

    async def notify(self) -> None:
        """Wake the workers with the commit, on databases that can."""
        await self._if_needed(self._kind.wake_workers)

    async def take_time(self) -> None:
        """Let the statements of this transaction take as long as they need, such as a migration."""
        await self._if_needed(self._kind.take_time)
        self._line.limit = inf

    async def lock_schema(self) -> None:
        """Wait for others that change the schema; SQLite's writers do so anyway."""
        await self._if_needed(self._kind.lock_schema)

    async def close(self) -> None:
        """Roll back what was not committed, and give the connection back. Not interruptible.

        A connection that is lost is given up: the server rolls back by itself.
        """
        with CancelScope(shield=True):
            try:
                await self._call(self._session.close)
            except DatabaseUnavailable:
                await self._call(self._session.invalidate)

    async def _if_needed(self, statement: Executable | None) -> None:
        if statement is not None:
            await self.execute(statement)

    async def _call(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            return await driver_call(self._line, function, *args, **kwargs)
        except Exception as error:
            self.failure = error
            raise


class Database:
    """An engine and the rules to use it by."""

    def __init__(
        self,
        engine: AsyncEngine,
        kind: DatabaseKind,
        *,
        connections: int = POOL_SIZE,
        clock: ColumnElement[float] | None = None,
    ) -> None:
        self.engine = engine
        self.kind = kind
        self.clock = literal_column(kind.clock, Double()) if clock is None else clock
        self._reading_engine = engine.execution_options(sqlite_begin="BEGIN")
        self._queue = anyio.Semaphore(connections, fast_acquire=True)
        self._writer = anyio.Lock(fast_acquire=True) if kind.one_writer else nullcontext()

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
        beside those that transactions wait in line for; if it is lost, there is soon another one.

        :raises Unavailable: if the database cannot be reached at first
        """
        return self.kind.listening(self.engine, wake)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[Session]:
        line = Line(self.kind.meaning)
        orm_session = AsyncSession(engine, expire_on_commit=False, autoflush=False)
        session = Session(orm_session, line, self.kind)
        async with self._queue:
            with self.kind.watching(line):
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
