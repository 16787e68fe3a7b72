"""SQLAlchemy dialects for both event loops: `sqlite+anyio` and `postgresql+anyio`.

SQLAlchemy's asyncio extension needs only greenlets and awaitables, but its stock drivers need
asyncio. Here the synchronous ones, sqlite3 and psycopg, run in threads. Where this package is
installed, anybody can name these dialects in a URL for `create_async_engine`. What to avoid on
Trio: leaving a session or connection by `async with`, which calls asyncio (close it explicitly);
NullPool; and an engine that was used on asyncio before.

- A connection has one thread, which does one thing after the other, whoever asks.
- A statement and its rows are one hop to that thread and back. On SQLite, a BEGIN takes no hop of
  its own: the cursor leaves it with the connection, and it goes along with the next statement.
- What was handed to the thread is waited for, whatever is cancelled, also by `asyncio.Task.cancel`.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
from anyio import CancelScope, WouldBlock, get_cancelled_exc_class, move_on_after
from anyio.lowlevel import current_token
from sqlalchemy import URL, AdaptedConnection, AsyncAdaptedQueuePool, Pool, StaticPool
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_, in_greenlet
from sqlalchemy.util.queue import Empty, Full, QueueCommon

BEGINS = {"BEGIN", "BEGIN DEFERRED", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"}


class ThreadedConnection(AdaptedConnection):
    """A connection of a synchronous driver, whose every method is one hop to its thread."""

    _connection: Any = None

    def __init__(self, dialect: "_Threaded", connect: Callable[[], Any]) -> None:
        self._dialect = dialect
        self._postponed: str | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)
        try:
            self.hop(self._open, connect)
        except BaseException:
            self.terminate()
            self._thread.shutdown(wait=False)  # it would stay as long as the error does
            raise

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        return partial(self.hop, attribute) if callable(attribute) else attribute

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):  # ours; all others are the driver's, such as `autocommit`
            super().__setattr__(name, value)
        else:
            self.hop(setattr, self._connection, name, value)

    def hop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `function` returns in the thread."""
        return await_(self._in_thread(partial(function, *args, **kwargs)))

    def cursor(self, *args: Any) -> "ThreadedCursor":
        """Return a cursor; with arguments, which are for the driver, one that streams."""
        return StreamingCursor(self, args) if args else ThreadedCursor(self)

    def execute(self, *args: Any) -> "ThreadedCursor":
        """Execute a statement with a new cursor, and return it."""
        cursor = self.cursor()
        cursor.execute(*args)
        return cursor

    def postpone_if_begin(self, statement: str) -> bool:
        """Keep a bare BEGIN for the next statement, and tell whether it was one."""
        if self._postponed or not self._dialect.is_begin(statement):
            return False
        await_(self._postpone(statement))
        return True

    def begin(self, cursor: Any) -> None:
        """Begin what was postponed, in the thread; if that fails, the next one tries again."""
        if self._postponed:
            cursor.execute(self._postponed)
            self._postponed = None

    def commit(self) -> None:
        """Commit the transaction, if there is one."""
        self._end(self._connection.commit)

    def rollback(self) -> None:
        """Roll the transaction back, if there is one: pools ask for it after every commit too."""
        self._end(self._connection.rollback)

    def terminate(self) -> None:
        """Close the connection, also where nothing can be awaited, as in garbage collection."""
        if self._connection and in_greenlet():
            self.close()
        elif self._connection:
            self._thread.submit(self._connection.close)

    def _open(self, connect: Callable[[], Any]) -> None:
        self._connection = connect()

    async def _postpone(self, begin: str) -> None:
        # nothing is awaited, but SQLAlchemy refuses drivers that never do
        self._postponed = begin

    def _end(self, function: Callable[[], None]) -> None:
        self._postponed = None
        if self._dialect.has_transaction(self._connection):
            self.hop(function)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        ended, cancelled = anyio.Event(), None
        loop: Any = current_token().native_token
        # from_thread.run_sync would wait until the event is set: as long as the hop itself takes
        soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        future = self._thread.submit(call)
        future.add_done_callback(lambda _: soon(ended.set))
        while not ended.is_set():
            try:
                with CancelScope(shield=True):
                    await ended.wait()
            except get_cancelled_exc_class() as error:  # asyncio itself knows no shield
                cancelled = error
        if cancelled:
            raise cancelled
        return future.result()


class ThreadedCursor:
    """A cursor that comes back from a statement with all its rows."""

    arraysize = 1
    description: Any = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: ThreadedConnection) -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()

    def execute(self, statement: str, *args: Any) -> None:
        """Execute a statement, and fetch its rows."""
        if not self._connection.postpone_if_begin(statement):
            self._connection.hop(self._execute, "execute", statement, *args)

    def executemany(self, *args: Any) -> None:
        """Execute a statement with each set of parameters."""
        self._connection.hop(self._execute, "executemany", *args)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next `size` rows, or those that are left."""
        count = min(size or self.arraysize, len(self._rows))
        return [self._rows.popleft() for _ in range(count)]

    def fetchall(self) -> Sequence[Any]:
        """Return the rows that are left."""
        rows, self._rows = self._rows, deque()
        return rows

    def close(self) -> None:
        """Forget the rows; the driver's cursor is closed already."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Do nothing: SQLAlchemy calls this where a `close` would have to wait."""

    def _execute(self, method: str, *args: Any) -> None:
        cursor = self._connection.driver_connection.cursor()
        try:
            self._connection.begin(cursor)
            getattr(cursor, method)(*args)
            self._rows = deque(cursor.fetchall() if cursor.description else ())
            self._copy_outcome(cursor)
        finally:
            cursor.close()

    def _copy_outcome(self, cursor: Any) -> None:
        self.description, self.rowcount = cursor.description, cursor.rowcount
        self.lastrowid = getattr(cursor, "lastrowid", None)


class StreamingCursor(ThreadedCursor):
    """A cursor that fetches rows as they are asked for, each time with a hop."""

    def __init__(self, connection: ThreadedConnection, args: Sequence[Any]) -> None:
        super().__init__(connection)
        self._cursor = connection.driver_connection.cursor(*args)

    def fetchone(self) -> Any:
        return self._connection.hop(self._cursor.fetchone)

    def fetchmany(self, size: int | None = None) -> Any:
        return self._connection.hop(self._cursor.fetchmany, size or self.arraysize)

    def fetchall(self) -> Any:
        return self._connection.hop(self._cursor.fetchall)

    def close(self) -> None:
        self._connection.hop(self._cursor.close)

    def _execute(self, method: str, *args: Any) -> None:
        self._connection.begin(self._cursor)
        getattr(self._cursor, method)(*args)
        self._copy_outcome(self._cursor)


class AnyIOQueue(QueueCommon[ConnectionPoolEntry]):
    """The idle connections of a pool; tasks wait for one in line.

    The count can be less than what is there: the rest is reserved for waiters that are woken.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self._idle: deque[ConnectionPoolEntry] = deque()
        self._count = anyio.Semaphore(0)

    def qsize(self) -> int:
        return len(self._idle)

    def put(self, item: ConnectionPoolEntry, block: bool = True, timeout: object = None) -> None:
        if 0 < self.maxsize <= len(self._idle):
            raise Full
        self._idle.append(item)
        self._count.release()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:
        if not (block or self._idle):  # also without an event loop, where a semaphore does not work
            raise Empty
        try:
            self._count.acquire_nowait()
        except WouldBlock:
            if not block:
                raise Empty from None
            await_(self._wait(timeout))
        return self._idle.pop() if self.use_lifo else self._idle.popleft()

    async def _wait(self, seconds: float | None) -> None:
        with move_on_after(seconds) as limit:
            await self._count.acquire()
        if limit.cancelled_caught:
            raise Empty


class AnyIOQueuePool(AsyncAdaptedQueuePool):
    """A pool whose tasks wait in line with AnyIO."""

    __module__ = "sqlalchemy.pool"  # names the logger: that of every other pool
    _queue_class = AnyIOQueue

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connecting = anyio.Lock()
        self._is_set_up = False

    def _create_connection(self) -> ConnectionPoolEntry:
        # the first is alone: others would wait for its set-up in a way that needs asyncio
        if self._is_set_up:
            return super()._create_connection()
        with _holding(self._connecting):
            connection = super()._create_connection()
            self._is_set_up = True
        return connection


class AnyIOStaticPool(StaticPool):
    """The one connection of a database in memory."""

    __module__ = "sqlalchemy.pool"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connecting = anyio.Lock()

    def _do_get(self) -> ConnectionPoolEntry:
        with _holding(self._connecting):
            return super()._do_get()


@contextmanager
def _holding(lock: anyio.Lock) -> Iterator[None]:
    await_(lock.acquire())
    try:
        yield
    finally:
        lock.release()


class _Threaded:
    """What makes a dialect of a synchronous driver one for both event loops."""

    driver = "anyio"
    is_async = True
    has_terminate = True
    supports_server_side_cursors = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AnyIOQueuePool

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect in a thread."""
        connect: Callable[..., Any] = super().connect  # type: ignore[misc]
        return ThreadedConnection(self, partial(connect, *args, **kwargs))

    def get_driver_connection(self, connection: Any) -> Any:
        return connection.driver_connection

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def has_transaction(self, driver_connection: Any) -> bool:
        """Tell, without asking the database. Only between hops: it reads the driver's state."""
        raise NotImplementedError

    def is_begin(self, statement: str) -> bool:
        """Tell whether the statement is a BEGIN and nothing else; psycopg begins by itself."""
        return False


class _StreamingContext(SQLiteExecutionContext):
    def create_server_side_cursor(self) -> Any:
        return self._dbapi_connection.cursor(sqlite3.Cursor)  # the argument is what makes it stream


class SQLiteDialectAnyIO(_Threaded, SQLiteDialect_pysqlite):
    """`sqlite+anyio`: the standard library's sqlite3."""

    supports_statement_cache = True
    execution_ctx_cls = _StreamingContext

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AnyIOQueuePool if cls._is_url_file_db(url) else AnyIOStaticPool

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        return super().connect(*args, **{**kwargs, "check_same_thread": False})

    def has_transaction(self, driver_connection: Any) -> bool:
        return bool(driver_connection.in_transaction)

    def is_begin(self, statement: str) -> bool:
        return statement in BEGINS


class PGDialectAnyIO(_Threaded, PGDialect_psycopg):
    """`postgresql+anyio`: psycopg 3."""

    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[PGDialect_psycopg]:
        return cls

    def has_transaction(self, driver_connection: Any) -> bool:
        return bool(driver_connection.info.transaction_status)  # 0 is IDLE
