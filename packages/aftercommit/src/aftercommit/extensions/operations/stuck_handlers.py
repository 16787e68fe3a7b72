"""Names in the log what goes on past its time limit, because it cannot be stopped from outside.

A handler that swallows its cancellation, or blocks the event loop, hears nobody. So a thread looks:
a blocked event loop cannot.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from time import monotonic

from aftercommit.claims import Claim, CommandWork
from aftercommit.observers import Observer

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog(Observer):
    """An observer that knows what runs in this process, and until when it may."""

    def __init__(self) -> None:
        self._limits: dict[object, tuple[str, float]] = {}

    def command(self, envelope: CommandWork, seconds: float) -> AbstractContextManager[None]:
        return self._watch(f"{envelope.name} {envelope.id}", seconds)

    def attempt(self, delivery: Claim, seconds: float) -> AbstractContextManager[None]:
        return self._watch(f"{delivery.name} on event {delivery.envelope.id}", seconds)

    @contextmanager
    def _watch(self, name: str, seconds: float) -> Iterator[None]:
        key = object()
        self._limits[key] = name, monotonic() + seconds
        try:
            yield
        finally:
            self._limits.pop(key, None)

    def look(self, over: Event, every: float) -> None:
        """Name what goes on, each once, until it is over."""
        while not over.wait(every):
            for key, (name, end) in self._limits.copy().items():
                if monotonic() > end + every:
                    self._limits.pop(key, None)
                    logger.error(
                        "%s goes on past its time limit: it swallows its cancellation, blocks the"
                        " event loop, or waits for the database",
                        name,
                    )


@contextmanager
def watching(every: float = LOOK_SECONDS) -> Iterator[Watchdog]:
    """Look, in a thread, while the context lasts."""
    watchdog, over = Watchdog(), Event()
    Thread(target=watchdog.look, args=(over, every), daemon=True).start()
    try:
        yield watchdog
    finally:
        over.set()
