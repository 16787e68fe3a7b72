"""How a call reaches the thread of its connection, and its result returns.

Used by the connection.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol

import anyio
from anyio import get_cancelled_exc_class, move_on_after
from anyio.lowlevel import current_token


class CallRunner(Protocol):
    """Makes the calls of one connection: a thread, or what `run_calls_with` puts in its place."""

    def put(self, call: "ThreadCall | None") -> None:
        """Accept calls, to be made one after the other; None says that there will be no more.

        The calls are made in this order, one at a time. The task waits elsewhere for the answer;
        the last calls, and None, can come from garbage collection, and so from any thread.
        """


def start_thread() -> CallRunner:
    """Start a thread that makes the calls it gets, one after the other, until it gets None.

    It is a daemon thread and not an executor's, so that endless waiting for a server cannot keep
    the process alive.
    """
    calls: SimpleQueue[ThreadCall | None] = SimpleQueue()
    Thread(target=_make, args=[calls], name="sqlalchemy_anyio", daemon=True).start()
    return calls


def _make(calls: "SimpleQueue[ThreadCall | None]") -> None:
    while call := calls.get():
        call.run()
        del call  # otherwise, it would keep its connection until the next call comes


class ThreadCall:
    """A current call. If it never ends, its task can be released without it.

    `function` is the driver call, with its `func`, `args` and `keywords`.
    """

    def __init__(self, function: partial[Any], *, is_awaited: bool = True) -> None:
        self.function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self.has_outcome = False
        self._is_abandoned = False
        self._released = anyio.Event()
        self._soon = _soon_in_this_loop() if is_awaited else None

    def run(self) -> None:
        """Make the call, and pass on its result."""
        self.make()
        self.answer()

    def make(self) -> BaseException | None:
        """Make the call, remember its result or its error, and return the error.

        The task goes on waiting. A call may be made again, for example if the database was locked.
        A call that was abandoned does not begin.
        """
        try:
            if self._is_abandoned:
                raise RuntimeError("nobody waits for this call")
            self._result, self._error = self.function(), None
        except BaseException as error:
            self._error = error
        return self._error

    def answer(self, error: BaseException | None = None) -> None:
        """Release the waiting task, with this error in place of the result, if given."""
        if error is not None:
            self._error = error
        # an error that comes later is of our making; but what was done was done
        self.has_outcome = self._error is None or not self._is_abandoned
        self._release()

    def abandon(self) -> None:
        """Let the task go on at once. May be called from any thread."""
        self._is_abandoned = True
        self._release()

    async def wait(self, seconds: float | None, *, shield: bool = True) -> None:
        """Wait until the call has ended, until it is abandoned, or for some seconds.

        With a shield, a cancellation, even by `asyncio.Task.cancel`, is raised only then.
        """
        in_time, cancelled = True, None
        while in_time and not self._released.is_set():
            try:
                with move_on_after(seconds, shield=shield) as limit:
                    await self._released.wait()
                in_time = not limit.cancelled_caught
            except get_cancelled_exc_class() as error:  # asyncio itself has no shield for this
                if not shield:
                    raise
                cancelled = error
        if cancelled:
            raise cancelled

    def result(self) -> Any:
        """Return the result of the call, or raise its error."""
        if self._error is None:
            return self._result
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error  # otherwise, it would keep itself alive, and the connection with it

    def _release(self) -> None:
        if self._soon:
            with suppress(RuntimeError):  # the event loop has ended, and no task waits
                self._soon(self._released.set)


def _soon_in_this_loop() -> Callable[[Callable[[], None]], object]:
    """Return a function by which any thread has this task's event loop call something."""
    loop: Any = current_token().native_token
    # from_thread.run_sync would wait until the event is set: as long as the call itself takes
    soon: Callable[[Callable[[], None]], object]
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return soon
