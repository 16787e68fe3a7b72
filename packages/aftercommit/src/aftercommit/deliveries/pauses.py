"""The paused handlers: what a pause does to rows, and what a process knows of them."""

import logging
from collections.abc import Collection
from math import inf

import sqlalchemy as sa
from anyio import Lock, current_time

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import deliveries, handler_pauses
from aftercommit.errors import HandlerPaused, TransientError

PAUSED_HANDLERS = sa.select(handler_pauses.c.handler)
PAUSED = deliveries.c.handler.in_(PAUSED_HANDLERS)
PAUSE = 1e12  # seconds added to the due time, out of reach of claims in their index
PAUSES_SECONDS = 0.5  # since the pauses were read for a commit, and again from there to an attempt

logger = logging.getLogger(__name__)


def pause_of(handler: sa.ColumnElement[str]) -> sa.Case[float]:
    """Return what is added to the due time of a delivery of this handler: nothing, or a `PAUSE`.

    The pause is locked: resuming the handler waits for this commit, and finds the delivery.
    """
    this = sa.select(handler_pauses).where(handler_pauses.c.handler == handler)
    return sa.case((sa.exists(this.with_for_update(read=True, key_share=True)), PAUSE), else_=0.0)


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
