"""Knows which subscriptions an operator has paused: it polls the database."""

import logging
from collections.abc import Collection

from anyio import Event, move_on_after

from aftercommit.database.database import Database
from aftercommit.deliveries.pauses import PAUSED_HANDLERS
from aftercommit.errors import TransientError
from aftercommit.process.running_services import Shutdown

POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


class PausedSubscriptions:
    """The paused subscriptions, at most POLL_SECONDS old, or older while the database is down.

    Nothing is consumed before they have been read for the first time.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._paused: Collection[str] | None = None
        self._changed = Event()

    async def watch(self, stop: Shutdown) -> None:
        """Poll until shutdown."""
        while not stop.is_set():
            try:
                async with self._database.read_transaction() as transaction:
                    paused = {*(await transaction.execute(PAUSED_HANDLERS)).scalars()}
            except TransientError as error:
                logger.warning("pauses cannot be read, so the last known ones apply: %s", error)
            else:
                if paused != self._paused:
                    self._paused, changed, self._changed = paused, self._changed, Event()
                    changed.set()
            with move_on_after(POLL_SECONDS):
                await stop.wait()
        self._changed.set()

    async def until_resumed(self, source: str | None, stop: Shutdown) -> bool:
        """Wait until the source is not paused, or shutdown; return whether to consume."""
        while self._may_be_paused(source) and not stop.is_set():
            await self._changed.wait()
        return not stop.is_set()

    async def until_paused(self, source: str | None, stop: Shutdown) -> None:
        """Return as soon as the source is paused, or at shutdown."""
        if source is None:
            await stop.wait()
        while not (self._may_be_paused(source) or stop.is_set()):
            await self._changed.wait()

    def _may_be_paused(self, source: str | None) -> bool:
        return source is not None and (self._paused is None or source in self._paused)
