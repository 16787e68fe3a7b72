"""The queries of this room: what is owed, what nobody here can do, and what is left."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.operations.exceptions import DeliveryNotFound
from allocation.adapters.operations.moments import moment_if_any
from allocation.adapters.orm import FINISHED, PARKED, PENDING, deliveries, events
from allocation.adapters.orm import coupon_batches as batches
from allocation.adapters.outbox import OURS, delivery_key
from allocation.service_layer.envelopes import EventId


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery. `parked_at` is None while it is still tried; `due_at` is, when it is done.

    `process` is who holds it, or has lost it if it is due all the same, or has done it.
    """

    event_id: UUID
    event_type: str
    handler: str
    attempts: int
    due_at: datetime | None
    parked_at: datetime | None
    finished_at: datetime | None
    process: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetails(DeliveryRow):
    """The same, with the event's data as they are stored: they may be what is wrong."""

    data: str


@dataclass(frozen=True, slots=True)
class Stranger:
    """Deliveries that this process cannot do: of which handler and event type, and how many."""

    handler: str
    event_type: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CouponBatchRow:
    """A batch, and how many of its coupons are left."""

    reference: str
    quantity: int
    remaining: int


@asynccontextmanager
async def listed_deliveries(
    database: Database,
    *,
    parked_only: bool = False,
    finished_too: bool = False,
    limit: int | None = None,
) -> AsyncIterator[AsyncIterator[DeliveryRow]]:
    """Open an iterator over what is owed, in constant memory.

    First what is tried, in the order in which workers claim it; then what is parked, the longest
    first; then, if it is asked for, what is done, in no order. Each is in an index of its own, or
    is all the rest: however long the history is, what is owed is there at once. `limit` is that of
    each of the three.
    """
    pending = _DELIVERIES.where(PENDING).order_by(deliveries.c.replay, deliveries.c.due_at)
    parked = _DELIVERIES.where(PARKED).order_by(deliveries.c.parked_at)
    finished = _DELIVERIES.where(FINISHED)
    asked_for = [pending] * (not parked_only) + [parked] + [finished] * finished_too
    async with database.reading() as session:
        yield (
            DeliveryRow(**_with_moments(row))
            for statement in asked_for
            async for row in session.stream(statement.limit(limit))
        )


async def delivery(database: Database, event_id: EventId, handler: str) -> DeliveryDetails:
    """Return one delivery.

    :raises DeliveryNotFound: if it is not owed
    """
    this = delivery_key == (event_id, handler), ~FINISHED
    statement = _DELIVERIES.add_columns(events.c.data).where(*this)
    async with database.reading() as session:
        row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise DeliveryNotFound(event_id, handler)
    return DeliveryDetails(**_with_moments(row))


async def strangers(
    database: Database, handlers: Collection[str], *, overdue: float
) -> Sequence[Stranger]:
    """Return what was due so many seconds ago, and left alone: these handlers cannot do it."""
    key = (deliveries.c.handler, events.c.type)
    late = deliveries.c.due_at <= database.clock - overdue
    statement = sa.select(*key, sa.func.count()).join_from(deliveries, events)
    async with database.reading() as session:
        rows = await session.execute(
            statement.where(PENDING, late, ~OURS).group_by(*key).order_by(*key),
            {"handlers": list(handlers)},
        )
    return [Stranger(*tuple(row)) for row in rows]


@asynccontextmanager
async def coupon_batches(database: Database) -> AsyncIterator[AsyncIterator[CouponBatchRow]]:
    """Open an iterator over all coupon batches, in the order in which they are used up."""
    reference = sa.type_coerce(batches.c.reference, sa.String).label("reference")
    statement = sa.select(reference, batches.c.quantity, batches.c.remaining).order_by(reference)
    async with database.reading() as session:
        yield (CouponBatchRow(**row._asdict()) async for row in session.stream(statement))


_TIMES = ("due_at", "parked_at", "finished_at")
_NAMES = ("event_id", "handler", "attempts", *_TIMES, "process", "last_error")
_COLUMNS = [deliveries.c[name] for name in _NAMES]
_DELIVERIES: sa.Select[Any] = sa.select(*_COLUMNS, events.c.type.label("event_type")).join(events)


def _with_moments(row: sa.Row[Any]) -> dict[str, Any]:
    values = row._asdict()
    return {**values, **{name: moment_if_any(values[name]) for name in _TIMES}}
