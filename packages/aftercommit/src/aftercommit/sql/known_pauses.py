"""The paused handlers, as a process knows them: it reads them once for everything at one time."""

import logging
from collections.abc import Collection
from math import inf

from anyio import Lock, current_time

from aftercommit.errors import HandlerPaused, TransientError
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED_HANDLERS
from aftercommit.sql.transaction import Transaction

PAUSES_SECONDS = 0.5  # since the pauses were read for a commit, and again from there to an attempt

logger = logging.getLogger(__name__)


class KnownPauses:
    """The paused handlers, at most PAUSES_SECONDS old."""

    def __init__(self, database: Database) -> None:
        self._database, self._asking = database, Lock()
        self._paused, self._known_until = frozenset[str](), -inf

    async def read(self, transaction: Transaction) -> Collection[str]:
        """Return the paused handlers, read in this transaction if necessary."""
        if current_time() >= self._known_until:
            self._paused = frozenset((await transaction.execute(PAUSED_HANDLERS)).scalars())
            self._known_until = current_time() + PAUSES_SECONDS
        return self._paused

    async def ensure_not_paused(self, handler: str) -> None:
        """Raise HandlerPaused if the handler is paused, or was when the database was last up."""
        async with self._asking:  # all waiters use what the first of them reads
            try:
                if current_time() >= self._known_until:
                    async with self._database.probe_transaction() as transaction:
                        await self.read(transaction)
            except TransientError as error:
                logger.warning("pauses cannot be read, so the last known ones apply: %s", error)
                self._known_until = current_time() + PAUSES_SECONDS
        if handler in self._paused:
            raise HandlerPaused(handler)
