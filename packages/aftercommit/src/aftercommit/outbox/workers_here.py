"""The workers of this process, which each commit of recorded events wakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import getpid

from sqlalchemy.orm import Session

from aftercommit.outbox.lanes_at_commit import has_stale_places
from aftercommit.outbox.worker_thread import WorkerThread

RECORDED = "aftercommit_connection"  # in `session.info`: the connection over which it has recorded

Waker = tuple[int, Callable[[bool], object]]
"""The id of a worker's process, and what wakes the worker: a forked child has its parent's."""


class WorkersHere:
    """What wakes the workers, and the threads of those that have one.

    Threads change both, and two of them may remove the same.
    """

    def __init__(self) -> None:
        self.wakers = set[Waker]()
        self.threads = set[WorkerThread]()

    def wake(self, session: Session) -> None:
        """Wake the workers, after a commit of a session.

        The commit has succeeded, so errors here are ignored.
        """
        if session.in_nested_transaction():  # a savepoint was released
            return
        connection = session.info.pop(RECORDED, None)
        is_stale = connection is not None and has_stale_places(connection)
        with suppress(RuntimeError):  # no thread can be started
            for thread in [*self.threads]:
                thread.start_if_ended()
        for waking in [*self.wakers]:
            process, wake = waking
            try:
                if process == getpid():
                    wake(is_stale)
            except RuntimeError:  # its event loop was closed without leaving `running()`
                self.wakers.discard(waking)

    @contextmanager
    def with_thread(self, thread: WorkerThread) -> Iterator[None]:
        """Run a worker in a thread as long as the context is open."""
        try:
            thread.start().result()
            self.threads.add(thread)
            yield
        finally:
            self.threads.discard(thread)
            thread.stop()
