"""Names in the log what goes on past its time limit, because it cannot be stopped from outside.

A handler that swallows its cancellation, or blocks the event loop, hears nobody. So a thread looks:
a blocked event loop cannot.
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
    """An observer that knows what runs in this process, and until when it may."""

    def __init__(self) -> None:
        self._running: dict[_Watched, None] = {}

    def command(self, work: CommandWork, seconds: float) -> "_Watched":
        return _Watched(work, monotonic() + seconds, self._running)

    def attempt(self, claim: Claim, seconds: float) -> "_Watched":
        return _Watched(claim, monotonic() + seconds, self._running)

    def look(self, over: Event, every: float) -> None:
        """Name what goes on, each once, until it is over."""
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
    """What runs, for as long as it does: no generator, which costs more than all else here."""

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
