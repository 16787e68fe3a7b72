"""Hangs up on calls that take too long, as if the server had closed the connection.

Nobody waits for ever for a server that is frozen or has vanished.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import Any

import anyio
from anyio import CancelScope, move_on_after

from allocation.adapters.calls import Line

WATCH_SECONDS = 0.5
LAST_SECONDS = 2.0  # how long a call may still take when everything is cancelled

logger = logging.getLogger(__name__)


class Watchdog:
    """Hangs up on calls that take too long."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._lines: set[Line] = set()
        self._patience = inf
        self._over = anyio.Event()

    @contextmanager
    def watching(self, line: Line) -> Iterator[None]:
        """Watch this line, too."""
        line.limit = self.limit
        self._lines.add(line)
        try:
            yield
        finally:
            self._lines.discard(line)

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
            for line in [line for line in self._lines if line.is_overdue(self._patience)]:
                self._end(line)

    def _end(self, line: Line) -> None:
        if line.connection is None:
            if line.scope:  # still connecting, which leaves nothing behind
                line.scope.cancel()
            return
        connection: Any
        connection, line.connection = line.connection, None
        line.hung_up_after = min(self.limit, self._patience)
        logger.warning("the database did not answer; hanging up")
        connection.terminate()  # waits for nothing; the call that uses it fails at once


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
