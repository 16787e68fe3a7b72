"""Names in the log what goes on past its time limit, because it cannot be stopped from outside.

A handler that swallows its cancellation, or blocks the event loop, hears nobody. So a thread looks:
a blocked event loop cannot.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic

from allocation.service_layer.delivery import Delivery, Trigger
from allocation.service_layer.envelopes import CommandEnvelope
from allocation.service_layer.facts import Begun, Ended, Fact

LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Watchdog:
    """An observer that knows what runs in this process, and until when it may."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[Trigger, float]] = {}  # by identity: a hash takes longer

    def __call__(self, fact: Fact) -> None:
        """Take note of what begins and ends."""
        match fact:
            case Begun((CommandEnvelope() | Delivery()) as trigger, float() as seconds):
                self._running[id(trigger)] = (trigger, monotonic() + seconds)
            case Ended(work):
                self._running.pop(id(work), None)

    def look(self, over: Event, every: float) -> None:
        """Name what goes on, once, until it is over."""
        named: set[int] = set()
        while not over.wait(every):
            running = self._running.copy()
            named &= running.keys()
            for key, (trigger, end) in running.items():
                if key not in named and monotonic() > end + every:
                    named.add(key)
                    logger.error(
                        "%s goes on past its time limit: it swallows its cancellation, blocks the"
                        " event loop, or waits for the database",
                        _told(trigger),
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


def _told(trigger: Trigger) -> str:
    if isinstance(trigger, Delivery):
        return f"{trigger.handler} on event {trigger.envelope.id}"
    return f"{type(trigger.command).__name__} {trigger.id}"
