"""Logs handlers that go on past their time limit because nothing can stop them.

A handler that swallows its cancellation, or blocks the event loop, cannot be stopped. A thread
looks for such handlers, because a blocked event loop cannot.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

from aftercommit.claims import Claim, CommandWork, WorkItem
from aftercommit.observers import Observer

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog(Observer):
    """An observer that knows what is running in this process, and until when it may."""

    def __init__(self) -> None:
        self._running: dict[_Watched, None] = {}

    def command(self, work: CommandWork, seconds: float) -> "_Watched":
        return _Watched(work, monotonic() + seconds, self._running)

    def attempt(self, claim: Claim, seconds: float) -> "_Watched":
        return _Watched(claim, monotonic() + seconds, self._running)

    def look(self, over: Event, every: float) -> None:
        """Log what goes on too long, once each, until it is over."""
        while not over.wait(every):
            for watched in self._running.copy():
                if monotonic() > watched.end + every:
                    self._running.pop(watched, None)
                    logger.error(
                        "%s goes on past its time limit: it swallows its cancellation, blocks the"
                        " event loop, or waits for the database",
                        _name(watched.work),
                    )


@dataclass(eq=False)
class _Watched(AbstractContextManager[None]):
    """What is running, while it is: not a generator, which would cost more than all the rest."""

    work: WorkItem
    end: float
    running: "dict[_Watched, None]"

    def __enter__(self) -> None:
        self.running[self] = None

    def __exit__(self, *error: object) -> None:
        self.running.pop(self, None)


def _name(work: WorkItem) -> str:
    if isinstance(work, Claim):
        return f"{work.name} on event {work.envelope.id}"
    return f"{work.name} {work.id}"


@contextmanager
def watching(every: float = LOOK_SECONDS) -> Iterator[Watchdog]:
    """Look, in a thread, while the context lasts."""
    watchdog, over = Watchdog(), Event()
    Thread(target=watchdog.look, args=(over, every), daemon=True).start()
    try:
        yield watchdog
    finally:
        over.set()
