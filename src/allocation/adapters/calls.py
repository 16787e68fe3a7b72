"""How the database driver is called: shielded, for a limited time, and with errors of our own.

A call that is cancelled half-way costs its connection, and may have committed all the same. So
every call is waited for; cancellation is seen between calls.

But nobody waits for ever for a server that is frozen or has vanished. The watchdog hangs up on a
call that takes too long; the driver then reports a lost connection, as if the server had closed it,
and all that use it tidy up as they always do.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from allocation.adapters.driver_errors import as_ours, reason_of
from allocation.domain.exceptions import (
    ConcurrentUpdate,
    ConnectionLost,
    DatabaseUnavailable,
    StatementRefused,
    Unavailable,
)

P = ParamSpec("P")
T = TypeVar("T")

WATCH_SECONDS = 0.5
DRIVER_STOP_SECONDS = 0.05
LAST_SECONDS = 2.0  # how long a call may still take when everything is cancelled

logger = logging.getLogger(__name__)


class Line:
    """The connection that somebody uses, and until when its call under way may take."""

    def __init__(self, limit: float = inf) -> None:
        self.limit = limit
        self.connection: DBAPIConnection | None = None
        self.scope: CancelScope | None = None
        self.hung_up_after: float | None = None
        self.begin(limit)

    def begin(self, limit: float) -> None:
        """Let what is done now take so many seconds."""
        self._began, self._limit = monotonic(), limit

    def is_overdue(self, patience: float) -> bool:
        """Tell whether it takes longer than it may, or than somebody has patience."""
        return monotonic() - self._began > min(self._limit, patience)


_in_use: ContextVar[Line] = ContextVar("line in use", default=Line())  # noqa: B039 - of nobody


def connection_in_use(connection: DBAPIConnection, limit: float | None = None) -> None:
    """Note which connection the present call uses, and how long its next step may take."""
    line = _in_use.get()
    line.connection, line.hung_up_after = connection, None
    line.begin(line.limit if limit is None else limit)


async def driver_call(
    line: Line, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call the driver and wait for its answer, whatever is cancelled.

    :raises ConcurrentUpdate: if a row has changed since it was read, or a race was lost
    :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
    :raises StatementRefused: if the statement or its data can never be accepted
    :raises ConnectionLost: if the connection broke, or was silent for too long
    :raises DatabaseUnavailable: if the database refuses for any other reason
    """
    await checkpoint_if_cancelled()
    token = _in_use.set(line)
    line.begin(line.limit)
    try:
        with CancelScope(shield=True) as line.scope:
            return await function(*args, **kwargs)
    except StaleDataError as error:
        raise ConcurrentUpdate from error
    except IntegrityError:
        raise
    except PoolTimeout as error:
        raise DatabaseUnavailable(str(error)) from error
    except (StatementError, UnicodeError, OverflowError) as error:
        if line.hung_up_after is not None:
            raise ConnectionLost(f"no answer within {line.hung_up_after:g} s") from error
        raise as_ours(error) from error
    finally:
        line.begin(inf)
        _in_use.reset(token)
    raise DatabaseUnavailable("there was no time to wait for a connection")


async def driver_connect(line: Line, connect: Callable[[], Awaitable[object]]) -> None:
    """Connect, or take a connection that was idle.

    :raises DatabaseUnavailable: if that does not work, whatever drivers raise for it
    """
    try:
        await driver_call(line, connect)
    except Exception as error:
        # aiosqlite's thread still tells the event loop that it stops: let it be there for that
        with CancelScope(shield=True):
            await anyio.sleep(DRIVER_STOP_SECONDS)
        if isinstance(error, Unavailable | ConcurrentUpdate):
            raise
        raise DatabaseUnavailable(_why_not_connected(error)) from error


def _why_not_connected(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time; is this the right host and port?"
    return (
        reason_of(error.__cause__ or error)
        if isinstance(error, StatementRefused)
        else reason_of(error)
    )


class Watchdog:
    """Hangs up on calls that take too long."""

    def __init__(self, limit: float, hang_up: Callable[[DBAPIConnection], None]) -> None:
        self.limit = limit
        self._hang_up = hang_up
        self._lines: set[Line] = set()
        self._patience = inf
        self._over = anyio.Event()

    @contextmanager
    def line(self) -> Iterator[Line]:
        """Open a line that is watched."""
        line = Line(self.limit)
        self._lines.add(line)
        try:
            yield line
        finally:
            self._lines.discard(line)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch, as long as the body lasts; with little patience once it is cancelled."""
        async with beside(self._watch_patiently):
            try:
                yield
            finally:
                self._over.set()

    async def _watch_patiently(self) -> None:
        try:
            await self._watch()
        finally:  # cancelled: it is not the time to wait for a server that does not answer
            with CancelScope(shield=True):
                self._patience = LAST_SECONDS
                await self._watch()

    async def _watch(self) -> None:
        while not self._over.is_set():
            with move_on_after(WATCH_SECONDS):
                await self._over.wait()
            for line in [line for line in self._lines if line.is_overdue(self._patience)]:
                self._end(line)

    def _end(self, line: Line) -> None:
        if line.connection is None:
            if line.scope:  # still connecting, which leaves nothing behind
                line.scope.cancel()
            return
        connection, line.connection = line.connection, None
        line.hung_up_after = min(self.limit, self._patience)
        logger.warning("the database did not answer; hanging up")
        self._hang_up(connection)


@asynccontextmanager
async def beside(task: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run a task as long as the body lasts, whose errors come out as they are, not in a group."""
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(task)
        try:
            yield
        except Exception as failure:
            error = failure
        group.cancel_scope.cancel()
    if error is not None:
        raise error
