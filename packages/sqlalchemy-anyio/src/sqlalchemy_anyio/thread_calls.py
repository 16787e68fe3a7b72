"""How a call gets to the thread of its connection and back. Used by the connection."""

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anyio
from anyio import get_cancelled_exc_class, move_on_after
from anyio.lowlevel import current_token

Calls = SimpleQueue[Callable[[], None] | None]


def start_thread() -> Calls:
    """Start a thread that makes the calls it is given, one after the other, until it is given None.

    A daemon, and no executor's: one that waits for a server for ever must not keep the process.
    """
    calls: Calls = SimpleQueue()
    Thread(target=_make, args=[calls], name="sqlalchemy_anyio", daemon=True).start()
    return calls


def _make(calls: Calls) -> None:
    while call := calls.get():
        call()
        del call  # or it would keep its connection until the next one comes


class ThreadCall:
    """One call under way. It may never end; then its task can be released without it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.has_outcome = False
        self._is_abandoned = False
        self._released = anyio.Event()
        loop: Any = current_token().native_token
        # from_thread.run_sync would wait until the event is set: as long as the call itself takes
        self._soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon

    def run(self) -> None:
        """Make the call, in the thread."""
        try:
            self._result = self._call()
        except BaseException as error:
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
        with suppress(RuntimeError):  # the event loop has ended, and no task waits
            self._soon(self._released.set)
