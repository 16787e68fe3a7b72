"""Settling deliveries whose handlers have no transaction of their own: many with one statement."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import sqlalchemy as sa
from anyio.lowlevel import checkpoint

from allocation.adapters.database import Database
from allocation.adapters.orm import PARKED, PENDING, deliveries
from allocation.service_layer.deliveries import Delivery, DeliveryPolicy
from allocation.service_layer.envelopes import EventId
from allocation.service_layer.exceptions import DeliverySuperseded

SETTLE_BATCH_SIZE = 128  # SQLite has a limit for what makes one statement

Key = tuple[EventId, str]
Settle = Callable[[Sequence[Delivery]], Awaitable[set[Key]]]

# the rows of these claims, unless another one has been made on them
_CLAIMS: sa.BindParameter[Any] = sa.bindparam("claims", expanding=True)
_CLAIMED = sa.tuple_(deliveries.c.event_id, deliveries.c.handler, deliveries.c.token).in_(_CLAIMS)
WITH_VALID_TOKEN = sa.update(deliveries).where(_CLAIMED, PENDING)


def claim_params(claims: Iterable[Delivery]) -> dict[str, Any]:
    """Return the parameters by which `WITH_VALID_TOKEN` finds rows, in the same order always."""
    return {"claims": sorted((each.envelope.id, each.handler, each.token) for each in claims)}


def done(database: Database, policy: DeliveryPolicy) -> dict[str, Any]:
    """Return what is set when a delivery is done; what was set before stays."""
    columns, now = deliveries.c, database.clock
    took = now - columns.available_at + policy.lease_seconds  # the lease has begun so long ago
    return {
        "completed_at": sa.func.coalesce(columns.completed_at, now),
        "duration_seconds": sa.func.coalesce(columns.duration_seconds, took),
        "available_at": None,
        "last_error": None,
    }


class Settlement:
    """Marks deliveries as done. All that come while a statement is under way share the next."""

    def __init__(
        self, database: Database, policy: DeliveryPolicy, settle_all: Settle | None = None
    ) -> None:
        self._database, self._settle_all = database, settle_all or self._settle_in_transaction
        self._waiting: dict[_Waiter, None] = {}
        self._writing = anyio.Lock()
        # done already with this token: by this claim, whose first answer was cancelled
        settled = sa.update(deliveries).where(_CLAIMED, ~PARKED).values(**done(database, policy))
        self._statement = settled.returning(deliveries.c.event_id, deliveries.c.handler)

    async def settle(self, delivery: Delivery) -> None:
        """Return when this delivery is settled.

        :raises DeliverySuperseded: if it has another owner now, or was parked
        """
        self._waiting[waiter := _Waiter(delivery)] = None
        try:
            await checkpoint()  # others have ended at the same time
            async with self._writing:
                if waiter.is_settled is None:
                    batch = [waiter, *(each for each in self._waiting if each is not waiter)]
                    await self._settle(batch[:SETTLE_BATCH_SIZE])
        finally:
            del self._waiting[waiter]
        if not waiter.is_settled:
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)

    async def _settle(self, batch: Sequence["_Waiter"]) -> None:
        settled = await self._settle_all([each.delivery for each in batch])
        for each in batch:
            each.is_settled = (each.delivery.envelope.id, each.delivery.handler) in settled

    async def _settle_in_transaction(self, claims: Sequence[Delivery]) -> set[Key]:
        async with self._database.write_transaction() as transaction:
            rows = (await transaction.execute(self._statement, claim_params(claims))).all()
            await transaction.commit()
        return {(row.event_id, row.handler) for row in rows}


@dataclass(slots=True, eq=False)
class _Waiter:
    """A delivery that waits to be settled, and whether its row was there for it."""

    delivery: Delivery
    is_settled: bool | None = None
