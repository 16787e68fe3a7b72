"""Names in the log what goes on past its time limit, because it cannot be stopped from outside.

A handler that swallows its cancellation, or blocks the event loop, hears nobody. So a thread looks:
a blocked event loop cannot.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog:
    """Knows what runs in this process, and until when it may. One serves any number of tasks."""

    def __init__(self) -> None:
        self._running: dict[object, tuple[str, float]] = {}

    @contextmanager
    def watching(self, name: str, seconds: float) -> Iterator[None]:
        """Expect the body to end in so many seconds."""
        key = object()
        self._running[key] = (name, monotonic() + seconds)
        try:
            yield
        finally:
            self._running.pop(key, None)

    @contextmanager
    def looking(self, every: float = LOOK_SECONDS) -> Iterator[None]:
        """Look, in a thread, while the context lasts."""
        over = Event()
        Thread(target=self._look, args=(over, every), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _look(self, over: Event, every: float) -> None:
        named: set[object] = set()
        while not over.wait(every):
            running = self._running.copy()
            named &= running.keys()
            for key, (name, end) in running.items():
                if key not in named and monotonic() > end + every:
                    named.add(key)
                    logger.error(
                        "%s goes on past its time limit: "
                        "it swallows its cancellation, or blocks the event loop",
                        name,
                    )
