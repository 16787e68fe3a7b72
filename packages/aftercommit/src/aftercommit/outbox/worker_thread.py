"""The worker of a process without an event loop: it has one in a thread. See `running_sync`."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from threading import Lock, Thread, main_thread

import anyio
from anyio import move_on_after

from aftercommit.outbox.handler_thread import soon_in_this_loop

POLL_SECONDS = 1.0  # how long it may go unseen that the main thread has ended

logger = logging.getLogger(__name__)


class WorkerThread:
    """Runs a worker in a thread, until it is stopped, or until the main thread has ended.

    Only then Python calls what is registered with `atexit`: a driver has threads, for which it
    waits before.
    """

    def __init__(
        self, running: Callable[[], AbstractAsyncContextManager[None]], *, event_loop: str
    ) -> None:
        self._running, self._event_loop = running, event_loop
        self._starting, self._thread = Lock(), Thread()
        self._stop_soon: Callable[[], object] = int

    def start(self) -> Future[None]:
        """Start it; the future has a result when it works, or the error because of which not."""
        started = Future[None]()
        self._thread = Thread(target=self._work, args=[started], name="aftercommit worker")
        self._thread.start()
        return started

    def start_if_ended(self) -> None:
        """Start it anew where its thread has ended: in a child that was forked, there is none."""
        if not self._thread.is_alive() and self._starting.acquire(blocking=False):
            try:
                if not self._thread.is_alive():
                    logger.info("the outbox has no worker in this process any more; it gets one")
                    self.start()
            finally:
                self._starting.release()

    def stop(self) -> None:
        """Let what runs finish within the grace period, and wait for that; nothing in a child."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it has ended meanwhile
                self._stop_soon()
            self._thread.join()

    def _work(self, started: Future[None]) -> None:
        async def main() -> None:
            soon, stop = soon_in_this_loop(), anyio.Event()
            self._stop_soon = lambda: soon(stop.set)
            async with self._running():
                started.set_result(None)
                while main_thread().is_alive() and not stop.is_set():
                    with move_on_after(POLL_SECONDS):
                        await stop.wait()

        try:
            anyio.run(main, backend=self._event_loop)
        except BaseException as error:
            if started.done():
                logger.critical("the worker of the outbox has ended; a commit starts another one")
            else:
                logger.error("the worker of the outbox did not start: %s", error)
                started.set_exception(error)
