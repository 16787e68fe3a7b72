"""Pools whose tasks wait with AnyIO. Used by the dialects.

Like SQLAlchemy's own pools, they create what belongs to an event loop when they first need it: an
engine is often made before there is an event loop, and `dispose` makes a new pool while the old
loop still runs.
"""

from collections import deque
from functools import cached_property
from typing import Any

import anyio
from anyio import WouldBlock, move_on_after
from sqlalchemy import AsyncAdaptedQueuePool, StaticPool
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import AsyncAdaptedLock
from sqlalchemy.util.concurrency import await_only as await_
from sqlalchemy.util.queue import Empty, Full, QueueCommon


class AnyIOQueue(QueueCommon[ConnectionPoolEntry]):
    """The idle connections of a pool; tasks wait in line for one.

    The count can be lower than the number of connections: the rest is reserved for woken waiters.
    """

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = use_lifo
        self._idle: deque[ConnectionPoolEntry] = deque()

    @cached_property
    def _count(self) -> anyio.Semaphore:
        return anyio.Semaphore(0)

    def qsize(self) -> int:
        """Return how many connections are idle."""
        return len(self._idle)

    def put(self, item: ConnectionPoolEntry, block: bool = True, timeout: object = None) -> None:
        """Give a connection to the task that has waited longest, or keep it.

        :raises Full: if there would be too many
        """
        if 0 < self.maxsize <= len(self._idle):
            raise Full
        self._idle.append(item)
        self._count.release()

    def get(self, block: bool = True, timeout: float | None = None) -> ConnectionPoolEntry:
        """Take a connection; with `block`, wait for one, for `timeout` seconds.

        :raises Empty: if there is none
        """
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


class AnyIOStaticPool(StaticPool):
    """The only connection of an in-memory database, even if several tasks ask first."""

    __module__ = "sqlalchemy.pool"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connecting = AsyncAdaptedLock()

    def _do_get(self) -> ConnectionPoolEntry:
        with self._connecting:
            return super()._do_get()
