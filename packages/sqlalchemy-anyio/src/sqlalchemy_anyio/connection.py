"""A connection of a synchronous driver, made asynchronous. Used by the dialects.

- It has one thread, which makes the calls of all tasks, one after the other. `run_calls_with`
  replaces the threads.
- A statement and its rows take one call in that thread. On SQLite, a BEGIN takes no extra call: the
  cursor defers it, and the connection sends it with the next statement.
- A call in the thread is waited for even if the task is cancelled, unless the connection is
  terminated meanwhile, which waits for nothing. Only connecting can be cancelled: then the thread
  closes the connection that nobody needs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol
from weakref import finalize

from sqlalchemy import AdaptedConnection
from sqlalchemy.util.concurrency import await_only as await_

from sqlalchemy_anyio.cursors import StreamingCursor, ThreadedCursor
from sqlalchemy_anyio.thread_calls import CallRunner, ThreadCall, start_thread

TERMINATED = "the connection was terminated"

_start_runner = ContextVar["Callable[[ThreadedConnection], CallRunner] | None"](
    "sqlalchemy_anyio_start_runner", default=None
)


@contextmanager
def run_calls_with(start: "Callable[[ThreadedConnection], CallRunner]") -> Iterator[None]:
    """Let `start` decide what makes the calls of each connection, instead of a thread.

    It applies to connections made in the body, and by tasks started there. The raw connection is
    `driver_connection`, which is None until the first call opens it. Keeping a reference to the
    connection keeps it from being garbage-collected, and so from being closed.
    """
    token = _start_runner.set(start)
    try:
        yield
    finally:
        _start_runner.reset(token)


class Driver(Protocol):
    """What a connection has to know about its driver."""

    @property
    def loaded_dbapi(self) -> Any:
        """The driver's module."""

    def is_begin(self, statement: str) -> bool:
        """Tell whether the statement is a BEGIN and nothing else."""

    def has_transaction(self, driver_connection: Any) -> bool:
        """Tell without asking the database.

        Only between calls, because it reads the driver's state.
        """

    def interrupt(self, driver_connection: Any) -> None:
        """Make the current call in the thread fail. Called from another thread."""


class ThreadedConnection(AdaptedConnection):
    """A connection of a synchronous driver; every method is one call in its thread.

    A call that takes longer than `seconds` terminates the connection. If calls are abandonable,
    cancelling one terminates it, too; otherwise, the call is waited for.
    """

    _connection: Any = None
    _is_closed = True

    def __init__(
        self,
        driver: Driver,
        connect: Callable[[], Any],
        *,
        seconds: float | None,
        abandonable: bool,
    ) -> None:
        self._driver = driver
        self._seconds = seconds
        self._abandonable = abandonable
        self._deferred: str | None = None
        self._under_way: list[ThreadCall] = []
        start = _start_runner.get()
        self._calls = start(self) if start else start_thread()
        self._is_closed = False
        try:
            await_(self._in_thread(partial(self._open, connect), abandonable=True))
        except BaseException:
            self.terminate()
            raise

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        return partial(self.run_in_thread, attribute) if callable(attribute) else attribute

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):  # ours; all others are the driver's, such as `autocommit`
            super().__setattr__(name, value)
        else:
            self.run_in_thread(setattr, self._connection, name, value)

    def run_in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `function` returns in the thread.

        :raises OperationalError: the driver's, if the connection is terminated first
        """
        call = partial(function, *args, **kwargs)
        return await_(self._in_thread(call, abandonable=self._abandonable))

    def cursor(self, *args: Any) -> ThreadedCursor:
        """Return a cursor; with arguments, which the driver gets, one that streams."""
        return StreamingCursor(self, args) if args else ThreadedCursor(self)

    def execute(self, *args: Any) -> ThreadedCursor:
        """Execute a statement with a new cursor, and return it."""
        cursor = self.cursor()
        cursor.execute(*args)
        return cursor

    def defer_begin(self, statement: str) -> bool:
        """Keep a bare BEGIN for the next statement, and return whether it was one."""
        if self._deferred or not self._driver.is_begin(statement):
            return False
        await_(self._defer(statement))
        return True

    def begin(self, cursor: Any) -> None:
        """Send a deferred BEGIN, in the thread; if this fails, the next call tries again."""
        if self._deferred:
            cursor.execute(self._deferred)
            self._deferred = None

    def commit(self) -> None:
        """Commit the transaction, if there is one."""
        self._end(self._connection.commit)

    def rollback(self) -> None:
        """Roll the transaction back, if there is one: pools call this after every commit, too."""
        self._end(self._connection.rollback)

    def close(self) -> None:
        """Close the connection, after its current call."""
        if not self._is_closed:
            self.run_in_thread(self._close)
            self._is_closed = True
            self._calls.put(None)

    def terminate(self) -> None:
        """Close the connection without waiting for anything, not even for the closing.

        Current calls raise an error at once; whether they take effect is unknown. The thread ends
        when the driver notices. May be called from anywhere, even from garbage collection.
        """
        if self._is_closed:
            return
        self._is_closed = True
        under_way = tuple(self._under_way)
        for call in reversed(under_way):  # no call is begun when one before it is skipped
            call.abandon()
        self._calls.put(ThreadCall(partial(self._close), is_awaited=False))
        self._calls.put(None)
        if under_way and self._connection:
            self._driver.interrupt(self._connection)

    def _open(self, connect: Callable[[], Any]) -> None:
        self._connection = connect()
        # what is registered is reachable, so that it is closed before it can be collected
        self._forgotten = finalize(self, _close_forgotten, self._connection, self._calls)
        self._forgotten.atexit = False

    def _close(self) -> None:
        if self._connection:
            self._forgotten.detach()
            self._connection.close()

    async def _defer(self, begin: str) -> None:
        # nothing is awaited, but SQLAlchemy refuses drivers that never await
        self._deferred = begin

    def _end(self, function: Callable[[], None]) -> None:
        self._deferred = None
        if self._is_closed or self._driver.has_transaction(self._connection):
            self.run_in_thread(function)

    async def _in_thread(self, function: partial[Any], *, abandonable: bool) -> Any:
        if self._is_closed:
            raise self._terminated()
        call = ThreadCall(function)
        self._under_way.append(call)
        self._calls.put(call)
        try:
            await call.wait(self._seconds, shield=not abandonable)
        finally:
            if not call.has_outcome:
                self.terminate()
            self._under_way.remove(call)
        if not call.has_outcome:
            raise self._terminated()
        return call.result()

    def _terminated(self) -> Exception:
        error: Exception = self._driver.loaded_dbapi.OperationalError(TERMINATED)
        return error


def _close_forgotten(driver_connection: Any, calls: CallRunner) -> None:
    calls.put(ThreadCall(partial(driver_connection.close), is_awaited=False))
    calls.put(None)
