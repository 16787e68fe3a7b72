"""Which handlers are paused, as a process knows it: it asks once for all that happens at a time."""

import logging
from collections.abc import Collection
from math import inf

from anyio import Lock, current_time

from aftercommit.errors import HandlerPaused, TransientError
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED_HANDLERS
from aftercommit.sql.transaction import Transaction

PAUSES_SECONDS = 0.5  # before a commit that the pauses were read, and again from it to an attempt

logger = logging.getLogger(__name__)


class KnownPauses:
    """The paused handlers, as they were at most PAUSES_SECONDS ago."""

    def __init__(self, database: Database) -> None:
        self._database, self._asking = database, Lock()
        self._paused, self._known_until = frozenset[str](), -inf

    async def read(self, transaction: Transaction) -> Collection[str]:
        """Return the paused handlers; if need be, ask in this transaction."""
        if current_time() >= self._known_until:
            self._paused = frozenset((await transaction.execute(PAUSED_HANDLERS)).scalars())
            self._known_until = current_time() + PAUSES_SECONDS
        return self._paused

    async def ensure_not_paused(self, handler: str) -> None:
        """Raise HandlerPaused if it is paused; while the database is away, as was known last."""
        async with self._asking:  # all that have waited go by what the first of them reads
            try:
                if current_time() >= self._known_until:
                    async with self._database.probe_transaction() as transaction:
                        await self.read(transaction)
            except TransientError as error:
                logger.warning("pauses count as they were last known: %s", error)
                self._known_until = current_time() + PAUSES_SECONDS
        if handler in self._paused:
            raise HandlerPaused(handler)
