"""A connection of a synchronous driver, made asynchronous. Used by the dialects.

- It has one thread, which does one thing after the other, whoever asks.
- A statement and its rows are one hop to that thread and back. On SQLite, a BEGIN takes no hop of
  its own: the cursor leaves it with the connection, and it goes along with the next statement.
- What was handed to the thread is waited for, whatever is cancelled; unless the connection is
  terminated meanwhile, which waits for nothing. Only connecting can be cancelled: it leaves nothing
  behind, since the thread closes what it has opened in vain.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sqlalchemy import AdaptedConnection
from sqlalchemy.util.concurrency import await_

from sqlalchemy_anyio.cursors import StreamingCursor, ThreadedCursor
from sqlalchemy_anyio.hops import Hop, start_thread

TERMINATED = "the connection was terminated"


class Driver(Protocol):
    """What a connection has to know about its driver."""

    @property
    def loaded_dbapi(self) -> Any:
        """The driver's module."""

    def is_begin(self, statement: str) -> bool:
        """Tell whether the statement is a BEGIN and nothing else."""

    def has_transaction(self, driver_connection: Any) -> bool:
        """Tell, without asking the database. Only between hops: it reads the driver's state."""

    def interrupt(self, driver_connection: Any) -> None:
        """Make a call that is under way in the thread fail. From another thread."""


class ThreadedConnection(AdaptedConnection):
    """A connection of a synchronous driver, whose every method is one hop to its thread.

    A hop that takes longer than `seconds` terminates the connection.
    """

    _connection: Any = None

    def __init__(self, driver: Driver, connect: Callable[[], Any], seconds: float | None) -> None:
        self._driver = driver
        self._seconds = seconds
        self._postponed: str | None = None
        self._is_closed = False
        self._hops: set[Hop] = set()
        self._calls = start_thread()
        try:
            await_(self._in_thread(partial(self._open, connect), may_be_given_up=True))
        except BaseException:
            self.terminate()
            raise

    def __del__(self) -> None:
        self._calls.put(None)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        return partial(self.hop, attribute) if callable(attribute) else attribute

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):  # ours; all others are the driver's, such as `autocommit`
            super().__setattr__(name, value)
        else:
            self.hop(setattr, self._connection, name, value)

    def hop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `function` returns in the thread.

        :raises OperationalError: the driver's, if the connection is terminated before that
        """
        return await_(self._in_thread(partial(self._unless_closed, function, *args, **kwargs)))

    def cursor(self, *args: Any) -> ThreadedCursor:
        """Return a cursor; with arguments, which are for the driver, one that streams."""
        return StreamingCursor(self, args) if args else ThreadedCursor(self)

    def execute(self, *args: Any) -> ThreadedCursor:
        """Execute a statement with a new cursor, and return it."""
        cursor = self.cursor()
        cursor.execute(*args)
        return cursor

    def postpone_if_begin(self, statement: str) -> bool:
        """Keep a bare BEGIN for the next statement, and tell whether it was one."""
        if self._postponed or not self._driver.is_begin(statement):
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

    def close(self) -> None:
        """Close the connection, after what is under way."""
        if not self._is_closed:
            self.hop(self._close)
            self._is_closed = True
            self._calls.put(None)

    def terminate(self) -> None:
        """Close the connection, and wait for nothing, not even for that.

        Calls under way raise an error at once; nobody knows whether they take effect. The thread
        ends when the driver notices. Can be called from anywhere, also from garbage collection.
        """
        if self._is_closed:
            return
        self._is_closed = True
        hops = tuple(self._hops)
        for hop in hops:
            hop.abandon()
        self._calls.put(self._close)
        self._calls.put(None)
        if hops and self._connection:
            self._driver.interrupt(self._connection)

    def _open(self, connect: Callable[[], Any]) -> None:
        self._connection = connect()

    def _close(self) -> None:
        if self._connection:
            self._connection.close()

    async def _postpone(self, begin: str) -> None:
        # nothing is awaited, but SQLAlchemy refuses drivers that never do
        self._postponed = begin

    def _end(self, function: Callable[[], None]) -> None:
        self._postponed = None
        if self._is_closed or self._driver.has_transaction(self._connection):
            self.hop(function)

    async def _in_thread(self, call: Callable[[], Any], *, may_be_given_up: bool = False) -> Any:
        if self._is_closed:
            raise self._terminated()
        hop = Hop(call)
        self._hops.add(hop)
        self._calls.put(hop.run)
        try:
            await hop.wait(self._seconds, shield=not may_be_given_up)
        finally:
            if not hop.has_outcome:
                self.terminate()
            self._hops.discard(hop)
        if not hop.has_outcome:
            raise self._terminated()
        return hop.result()

    def _unless_closed(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it, in the thread, which may come to it after a termination."""
        if self._is_closed:
            raise self._terminated()
        return function(*args, **kwargs)

    def _terminated(self) -> Exception:
        error: Exception = self._driver.loaded_dbapi.OperationalError(TERMINATED)
        return error
