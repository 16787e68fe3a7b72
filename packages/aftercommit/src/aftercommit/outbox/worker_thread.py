"""The worker of a process without an event loop: it runs one in a thread. See `running_sync`."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from os import getpid
from threading import RLock, Thread, main_thread

import anyio
from anyio import move_on_after
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import Session

from aftercommit.errors import WiringError
from aftercommit.outbox.handler_session import WRITE
from aftercommit.outbox.handler_thread import soon_in_this_loop

POLL_SECONDS = 1.0  # for which the end of the main thread may go unnoticed

FORKED = """this process was forked while its parent had a worker, and such a child cannot use the
database. Call `running_sync` after the fork, as in post_worker_init of gunicorn, or have
"aftercommit worker" run in a process of its own. The database is one of"""

logger = logging.getLogger(__name__)


class WorkerThread:
    """Runs a worker in a thread, until it is stopped, or until the main thread has ended.

    It does not rely on `atexit`, which Python calls only after waiting for the threads of a driver.
    """

    def __init__(
        self, running: Callable[[], AbstractAsyncContextManager[None]], *, event_loop: str
    ) -> None:
        self._running, self._event_loop = running, event_loop
        self._thread, self._is_over = Thread(), False
        self._wake_soon: Callable[[], object] = _wake_nobody
        self._locks = dict[int, "RLock"]()

    @property
    def _lock(self) -> "RLock":
        """The lock of this process: nobody would release one that was held at a fork."""
        return self._locks.setdefault(getpid(), RLock())

    def start(self) -> Future[None]:
        """Start it; the future has a result when it works, or the error if it did not start."""
        started = Future[None]()
        self._wake_soon = _wake_nobody  # and not a loop that has ended, or that of a parent process
        self._thread = Thread(target=self._work, args=[started], name="aftercommit worker")
        self._thread.start()
        return started

    def start_if_ended(self) -> None:
        """Start it again if its thread has ended: in a forked child, there is none."""
        if not self._thread.is_alive() and self._lock.acquire(blocking=False):
            try:
                if not (self._is_over or self._thread.is_alive()):
                    logger.info(
                        "the worker of the outbox is gone in this process; starting another one"
                    )
                    self.start()
            finally:
                self._lock.release()

    def stop(self) -> None:
        """Let running work finish in the grace period, and wait for that; do nothing in a child.

        From now on, no commit starts it again.
        """
        with self._lock:  # a commit may be starting it
            self._is_over = True
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it has ended meanwhile
                self._wake_soon()
            self._thread.join()

    def _work(self, started: Future[None]) -> None:
        async def main() -> None:
            soon, woken = soon_in_this_loop(), anyio.Event()
            self._wake_soon = lambda: soon(woken.set)  # before it looks whether it is over
            async with self._running():
                started.set_result(None)
                while main_thread().is_alive() and not self._is_over:
                    with move_on_after(POLL_SECONDS):
                        await woken.wait()

        try:
            anyio.run(main, backend=self._event_loop)
        except BaseException as error:
            if started.done():
                logger.critical(
                    "the worker of the outbox has ended; the next commit starts another one"
                )
            else:
                logger.error("the worker of the outbox did not start: %s", error)
                started.set_exception(error)


def _wake_nobody() -> None:
    """Do nothing: the thread looks whether it is over when it has an event loop."""


def refuse_forked(session: Session) -> None:
    """Refuse a session on SQLite in a child that was forked while there was a worker.

    :raises WiringError: on SQLite: the child's connections would break the locks of its parent's
    """
    with suppress(UnboundExecutionError):
        if session.get_bind(clause=WRITE).dialect.name == "sqlite":
            raise WiringError(FORKED, "SQLite")
