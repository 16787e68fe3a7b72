"""The queries: a function each, which returns read models, never aggregates.

Reading waits for nobody and sees only what is committed. The view of users is kept by event
handlers, so it follows a command a moment later.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, select

from allocation.adapters.database import Database
from allocation.adapters.orm import deliveries, events, user_view
from allocation.service_layer.envelopes import EventId
from allocation.service_layer.exceptions import DeliveryNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """A user and the coupon, if there is one."""

    user_id: UUID
    name: str
    email: str
    coupon: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery that is owed. `parked_at` is None while it is still tried."""

    event_id: UUID
    event_type: str
    handler: str
    attempts: int
    due_at: datetime
    parked_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetails(DeliveryRow):
    """The same, with the event's data as they are stored: they may be what is wrong."""

    data: str


@asynccontextmanager
async def users(database: Database) -> AsyncIterator[AsyncIterator[UserRow]]:
    """Open an iterator over all users, by e-mail address, in constant memory."""
    statement = select(user_view).order_by(user_view.c.email, user_view.c.user_id)
    async with database.reading() as session:
        yield (UserRow(**row._asdict()) async for row in session.stream(statement))


@asynccontextmanager
async def owed_deliveries(
    database: Database, *, parked_only: bool = False
) -> AsyncIterator[AsyncIterator[DeliveryRow]]:
    """Open an iterator over what is owed, the longest due first, in constant memory."""
    statement = _DELIVERIES.order_by(deliveries.c.due_at)
    if parked_only:
        statement = statement.where(deliveries.c.parked_at.is_not(None))
    async with database.reading() as session:
        yield (DeliveryRow(**_with_moments(row)) async for row in session.stream(statement))


async def delivery(database: Database, event_id: EventId, handler: str) -> DeliveryDetails:
    """Return one delivery.

    :raises DeliveryNotFound: if it is not owed
    """
    statement = _DELIVERIES.add_columns(events.c.data).where(
        deliveries.c.event_id == event_id, deliveries.c.handler == handler
    )
    async with database.reading() as session:
        row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise DeliveryNotFound(event_id, handler)
    return DeliveryDetails(**_with_moments(row))


_COLUMNS = [column for column in deliveries.c if column.name != "token"]
_DELIVERIES: Select[Any] = select(*_COLUMNS, events.c.type.label("event_type")).join(events)


def _with_moments(row: Row[Any]) -> dict[str, Any]:
    times = {"due_at": _moment(row.due_at), "parked_at": _moment(row.parked_at)}
    return {**row._asdict(), **times}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
