"""The queue in which one process's writers wait for a database with one writer at a time.

Handlers of claimed deliveries go first, because their leases are running. So a process can at once
run what it claims. Commands and claims come in order. Last writes let others pass for a moment,
because many of them cost as much as one; then they go before all others.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from math import inf

from anyio import Event, current_time, sleep

LONG_SECONDS = 1.0  # for which a writer may keep other processes from writing
A_WHILE = 0.1  # seconds: short compared with all other limits
LOOK_SECONDS = 0.2  # in which those have looked again: SQLite polls ten times a second


class Writer(IntEnum):
    """What a writer does, which decides about its place in the queue."""

    LAST = 0  # stores what became of a delivery
    REPLY = 1  # a command's handler that completes a delivery
    DELIVERY = 2  # a handler of an event
    COMMAND = 3  # any other handler of a command
    OTHER = 4


class WriterQueue:
    """A lock that the most urgent writer gets.

    It belongs to one process. After a long turn, and after last writes, it leaves others time.
    """

    def __init__(self) -> None:
        self._waiting: tuple[deque[tuple[float, Event]], ...] = (deque(), deque(), deque())
        self._is_taken = False
        self._opens_at = -inf

    @property
    def is_urgent(self) -> bool:
        """Whether a last write has been waiting for a while."""
        last = self._waiting[0]
        return bool(last) and last[0][0] < current_time() - A_WHILE

    @asynccontextmanager
    async def turn(self, writer: Writer) -> AsyncIterator[None]:
        """Wait for the turn of this writer, and hold it during the body."""
        if self._is_taken:
            number = (writer >= Writer.DELIVERY) + (writer > Writer.DELIVERY)
            waiting, place = self._waiting[number], (current_time(), Event())
            waiting.append(place)
            try:
                await place[1].wait()
            except BaseException:
                if place[1].is_set():
                    self._pass_on()
                else:
                    waiting.remove(place)
                raise
        self._is_taken = True
        try:
            if writer >= Writer.DELIVERY and (pause := self._opens_at - current_time()) > 0:
                await sleep(pause)
            begun = current_time()
            try:
                yield
            finally:
                now = current_time()
                if now - begun > LONG_SECONDS or self._opens_at > begun:
                    self._opens_at = now + LOOK_SECONDS
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the next writer; while that wakes up, the queue stays taken."""
        last, *others = self._waiting
        in_order = (last, *others) if self.is_urgent else (*others, last)
        if waiting := next(filter(None, in_order), None):
            waiting.popleft()[1].set()
        else:
            self._is_taken = False
