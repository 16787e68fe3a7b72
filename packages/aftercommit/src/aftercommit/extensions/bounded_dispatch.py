"""Dispatches what commands have committed while their callers go on, up to a limit.

Any extension may import this.
"""

import logging

from aftercommit.bus import MessageBus
from aftercommit.claims import Committed

logger = logging.getLogger(__name__)


class BoundedDispatch:
    """Dispatches what up to `limit` commands have committed; the rest is left to workers."""

    def __init__(self, bus: MessageBus, limit: int) -> None:
        self._bus, self._limit = bus, limit
        self._dispatching = 0
        self._has_handed_over = False

    async def dispatch(self, committed: Committed) -> None:
        """Return when the events are dispatched, or left to workers."""
        if self._dispatching >= self._limit:
            if not self._has_handed_over:
                logger.info(
                    "more commands arrive than can be dispatched here: the rest is left to workers"
                )
            self._has_handed_over = True
            await self._bus.release(committed.claims)
            return
        self._dispatching += 1
        try:
            await self._bus.run(committed.claims)
        finally:
            self._dispatching -= 1
