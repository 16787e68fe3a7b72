"""Hangs up on calls that take too long, as if the server had closed the connection.

Nobody waits for ever for a server that is frozen or has vanished.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Any

import anyio
from anyio import CancelScope, move_on_after
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from allocation.adapters.calls import DriverCalls
from allocation.adapters.exceptions import ConnectionLost, DatabaseUnavailable
from allocation.adapters.postgresql.errors import meaning
from allocation.domain.exceptions import AllocationError

WATCH_SECONDS = 0.5
LAST_SECONDS = 2.0  # how long a call may still take when everything is cancelled

logger = logging.getLogger(__name__)


class WatchedCalls(DriverCalls):
    """Calls the driver for one transaction; each call may take so many seconds."""

    def __init__(self, watched: set["WatchedCalls"], limit: float) -> None:
        self.connection: Any = None  # the one in use, as the pool has it
        self.hung_up_after: float | None = None
        self._watched = watched
        self._limit = limit

    def begin(self, limit: float | None = None) -> None:
        """Let what is done now take so many seconds."""
        self._began, self._present_limit = monotonic(), self._limit if limit is None else limit

    def is_overdue(self, patience: float) -> bool:
        """Tell whether it takes longer than it may, or than somebody has patience."""
        return monotonic() - self._began > min(self._present_limit, patience)

    @contextmanager
    def guard(self) -> Iterator[None]:
        token = _in_use.set(self)
        self.begin()
        self._watched.add(self)
        try:
            with CancelScope(shield=True) as self._scope:
                yield
        except Exception as error:
            if self.hung_up_after is not None:
                raise ConnectionLost(f"no answer within {self.hung_up_after:g} s") from error
            if isinstance(error, TimeoutError):
                why = "it did not answer in time; is this the right host and port?"
                raise DatabaseUnavailable(why) from error
            raise
        finally:
            self._watched.discard(self)
            _in_use.reset(token)
        if self._scope.cancelled_caught:
            raise DatabaseUnavailable("there was no time to wait for a connection")

    def meaning(self, error: DBAPIError) -> AllocationError | None:
        return meaning(error)

    def hang_up(self, patience: float) -> None:
        """End the present call: the one that waits for it fails at once."""
        if self.connection is None:  # still connecting, which leaves nothing behind
            self._scope.cancel()
            return
        connection, self.connection = self.connection, None
        self.hung_up_after = min(self._present_limit, patience)
        logger.warning("the database did not answer; hanging up")
        connection.terminate()  # waits for nothing


_in_use: ContextVar[WatchedCalls | None] = ContextVar("calls in use", default=None)


def connection_in_use(connection: DBAPIConnection, limit: float | None = None) -> None:
    """Note which connection the present call uses, and how long its next step may take."""
    if calls := _in_use.get():
        calls.connection, calls.hung_up_after = connection, None
        calls.begin(limit)


def connection_given_back() -> None:
    """Forget the connection: it is somebody else's now, who must not be hung up on."""
    if calls := _in_use.get():
        calls.connection = None


class Watchdog:
    """Hangs up on calls that take too long."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._under_way: set[WatchedCalls] = set()
        self._patience = inf
        self._over = anyio.Event()

    def driver_calls(self, *, takes_time: bool = False) -> WatchedCalls:
        """Return what calls the driver for one transaction, under this watchdog's eyes."""
        return WatchedCalls(self._under_way, inf if takes_time else self.limit)

    @asynccontextmanager
    async def on_duty(self) -> AsyncIterator[None]:
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
            for calls in [calls for calls in self._under_way if calls.is_overdue(self._patience)]:
                calls.hang_up(self._patience)


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
