"""The database connection: how it is opened, shared, shielded and timed. Used by the adapters.

Three traps are handled here, so that no other module has to know them:

- A driver call that is cancelled half-way costs its connection, and may have committed all the
  same. So every call runs shielded; cancellation is seen between calls.
- SQLite has one writer at a time. A transaction that begins as a reader and then writes fails with
  "database is locked" whatever the busy timeout, so a writing one says so in its BEGIN; writers of
  this process wait in line for each other instead of spinning.
- Clocks of machines differ. Times that are compared come from the database's clock.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ParamSpec, TypeVar, cast

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import URL, Connection, CursorResult, Delete, Result, Row, Update, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql import Executable
from sqlalchemy.sql.expression import ColumnElement, literal_column
from sqlalchemy.types import Float

from allocation.domain.exceptions import ConcurrentUpdate, DatabaseUnavailable, InvalidValue

P = ParamSpec("P")
T = TypeVar("T")

SQLITE_BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
SQLITE_QUERY = {"mode", "timeout", "uri"}
DRIVER_STOP_SECONDS = 0.05
STREAM_ROWS = 500
DRIVERS = {"sqlite": "sqlite+aiosqlite"}

# Seconds since 1970, by the database's clock.
DATABASE_CLOCK: ColumnElement[float] = literal_column(
    "((julianday('now') - 2440587.5) * 86400.0)", Float
)


class Session:
    """One transaction: SQLAlchemy's session, with every call shielded and every error ours."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def add(self, instance: object) -> None:
        """Insert `instance` with the next flush."""
        self._session.add(instance)

    def add_all(self, instances: Iterable[object]) -> None:
        """Insert all of `instances` with the next flush."""
        self._session.add_all(instances)

    async def begin(self) -> None:
        """Check a connection out and begin the transaction."""
        try:
            await _call(self._session.connection)
        except DatabaseUnavailable:
            # aiosqlite's thread still tells the event loop that it stops: let it be there for that
            with CancelScope(shield=True):
                await anyio.sleep(DRIVER_STOP_SECONDS)
            raise

    async def get(self, entity: type[T], key: object) -> T | None:
        """Return the entity with this primary key, or None."""
        return await _call(self._session.get, entity, key)

    async def execute(self, statement: Executable, rows: Any = None) -> Result[Any]:
        """Execute a statement, once or for each of the rows, and fetch what it returns."""
        return await _call(self._session.execute, statement, rows)

    async def write(self, statement: Update | Delete) -> int:
        """Execute an update or delete, and return how many rows it hit."""
        result = await self.execute(statement)
        return cast("CursorResult[Any]", result).rowcount

    async def stream(self, statement: Executable) -> AsyncIterator[Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        result = await _call(self._session.stream, statement)
        while rows := await _call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[Connection], T]) -> T:
        """Run a function that wants a synchronous connection, such as a migration."""
        connection = await _call(self._session.connection)
        return await _call(connection.run_sync, function)

    async def flush(self) -> None:
        """Write what was added and changed.

        :raises ConcurrentUpdate: if a row has changed since it was read
        :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
        """
        await _call(self._session.flush)

    async def commit(self) -> None:
        """Commit the transaction."""
        await _call(self._session.commit)

    async def close(self) -> None:
        """Roll back what was not committed, and give the connection back. Not interruptible."""
        with CancelScope(shield=True):
            await _call(self._session.close)


class Database:
    """An engine and the rules to use it by."""

    def __init__(self, engine: AsyncEngine, clock: ColumnElement[float] = DATABASE_CLOCK) -> None:
        self.engine = engine
        self.clock = clock
        self._reading_engine = engine.execution_options(sqlite_begin="BEGIN")
        self._writer = anyio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Session]:
        """Open a transaction that may write; without a commit it is rolled back."""
        async with self._writer, self._transaction(self.engine) as session:
            yield session

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """Open a transaction that only reads, and waits for nobody."""
        return self._transaction(self._reading_engine)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[Session]:
        session = Session(AsyncSession(engine, expire_on_commit=False, autoflush=False))
        try:
            await session.begin()
            yield session
        finally:
            await session.close()


@asynccontextmanager
async def open_database(url: str, *, backend: str = "asyncio") -> AsyncIterator[Database]:
    """Open the database at `url`, and close it at the end. Nothing is connected before first use.

    :raises InvalidValue: if the URL cannot be understood, or does not work on this event loop
    """
    if backend != "asyncio":
        raise InvalidValue("backend", f"{backend} does not support the database yet; use asyncio")
    parsed = _with_driver(url)
    engine = create_async_engine(parsed, **_options(parsed))
    event.listen(engine.sync_engine, "connect", _set_up_sqlite_connection)
    event.listen(engine.sync_engine, "begin", _begin_sqlite_transaction)
    try:
        yield Database(engine)
    finally:
        with CancelScope(shield=True):
            await engine.dispose()


def _with_driver(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise InvalidValue("database URL", "is not of the form sqlite:///FILE") from None
    if parsed.drivername not in DRIVERS.values():
        raise InvalidValue("database URL", f"names {parsed.drivername}, which is not supported")
    if parsed.host or parsed.username or parsed.password or not url.isprintable():
        raise InvalidValue("database URL", "is not of the form sqlite:///FILE")
    if not parsed.database or ":memory:" in parsed.database or "memory" in parsed.query.values():
        raise InvalidValue("database URL", "names no file; an in-memory database is not supported")
    if parsed.query.keys() - SQLITE_QUERY or not _is_number(parsed.query.get("timeout", "0")):
        raise InvalidValue("database URL", "may have only timeout, mode and uri after the ?")
    return parsed


def _is_number(text: object) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", str(text)) is not None


def _options(url: URL) -> dict[str, Any]:
    return {} if "timeout" in url.query else {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}


def _set_up_sqlite_connection(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite_transaction(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)


async def _call(function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    await checkpoint_if_cancelled()
    try:
        with CancelScope(shield=True):
            result = await function(*args, **kwargs)
        return result  # noqa: RET504 - inside, mypy fears that the scope swallows an error
    except StaleDataError as error:
        raise ConcurrentUpdate from error
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        raise DatabaseUnavailable(str(getattr(error, "orig", error))) from error
