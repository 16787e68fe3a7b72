"""How a call gets to the thread of its connection and back. Used by the connection."""

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
    """What makes the calls of one connection: a thread, unless `run_calls_with` says otherwise."""

    def put(self, call: "ThreadCall | None") -> None:
        """Take calls one after the other; None: the last one was put.

        The calls are made in this order, one at a time. The task waits elsewhere, for the answer;
        the last calls and None can also come from garbage collection, so from any thread.
        """


def start_thread() -> CallRunner:
    """Start a thread that makes the calls it is given, one after the other, until it is given None.

    A daemon, and no executor's: one that waits for a server for ever must not keep the process.
    """
    calls: SimpleQueue[ThreadCall | None] = SimpleQueue()
    Thread(target=_make, args=[calls], name="sqlalchemy_anyio", daemon=True).start()
    return calls


def _make(calls: "SimpleQueue[ThreadCall | None]") -> None:
    while call := calls.get():
        call.run()
        del call  # or it would keep its connection until the next one comes


class ThreadCall:
    """One call under way. It may never end; then its task can be released without it.

    What is asked of the driver is `function`, with its `func`, `args` and `keywords`.
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
        """Make the call, and answer it."""
        self.make()
        self.answer()

    def make(self) -> BaseException | None:
        """Make the call, and remember its result or its error, which is returned.

        The task goes on waiting. A call may be made again, such as when the database was locked.
        What was abandoned before is not begun any more.
        """
        try:
            if self._is_abandoned:
                raise RuntimeError("nobody waits for this call any more")
            self._result, self._error = self.function(), None
        except BaseException as error:
            self._error = error
        return self._error

    def answer(self, error: BaseException | None = None) -> None:
        """Release the task that waits, with this error in place of the result if one is given."""
        if error is not None:
            self._error = error
        # an error that comes after that is of our making; but what was done was done
        self.has_outcome = self._error is None or not self._is_abandoned
        self._release()

    def abandon(self) -> None:
        """Let the task go on at once. From any thread."""
        self._is_abandoned = True
        self._release()

    async def wait(self, seconds: float | None, *, shield: bool = True) -> None:
        """Wait until the call has ended, or so long, or until it is abandoned.

        With a shield, cancellation, also that by `asyncio.Task.cancel`, is raised then, and not
        before.
        """
        in_time, cancelled = True, None
        while in_time and not self._released.is_set():
            try:
                with move_on_after(seconds, shield=shield) as limit:
                    await self._released.wait()
                in_time = not limit.cancelled_caught
            except get_cancelled_exc_class() as error:  # asyncio itself knows no shield
                if not shield:
                    raise
                cancelled = error
        if cancelled:
            raise cancelled

    def result(self) -> Any:
        """Return what the call has returned, or raise what it has raised."""
        if self._error is None:
            return self._result
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error  # or it would keep itself, and the connection with it

    def _release(self) -> None:
        if self._soon:
            with suppress(RuntimeError):  # the event loop has ended, and no task waits
                self._soon(self._released.set)


def _soon_in_this_loop() -> Callable[[Callable[[], None]], object]:
    """Return what has the event loop of this task call something, from any thread."""
    loop: Any = current_token().native_token
    # from_thread.run_sync would wait until the event is set: as long as the call itself takes
    soon: Callable[[Callable[[], None]], object]
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return soon
