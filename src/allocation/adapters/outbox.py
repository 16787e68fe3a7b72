"""The outbox: events and deliveries in the database. See `service_layer/delivery.py` for the rules.

Every write of a claim filters on its fencing token. A claim goes by status, never by "later than
the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from uuid import UUID

import anyio
from anyio import current_time
from sqlalchemy import (
    ColumnElement,
    Delete,
    Row,
    Update,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from allocation.adapters import wire
from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import InvalidMessage, InvalidPayload, StatementRefused
from allocation.adapters.orm import deliveries, events, inbox
from allocation.service_layer.delivery import Delivery, DeliveryPolicy
from allocation.service_layer.envelopes import Envelope, EventId
from allocation.service_layer.exceptions import DeliveryNotFound, DeliverySuperseded
from allocation.service_layer.ports import Stranger

MAX_ERROR_LENGTH = 2000  # characters of an error that are kept

_CLAIM = tuple_(deliveries.c.event_id, deliveries.c.handler, deliveries.c.token)
_NEXT_TOKEN = deliveries.c.token + 1
_PENDING = deliveries.c.parked_at.is_(None)
_READABLE = or_(  # type and version: other events are for newer processes
    *(
        and_(events.c.type == name, events.c.schema_version <= wire.version_of(name))
        for name in wire.EVENT_TYPES
    )
)

logger = logging.getLogger(__name__)


async def store_events(
    session: Session, now: ColumnElement[float], envelopes: Sequence[Envelope]
) -> None:
    """Insert events, in the caller's transaction."""
    if envelopes:
        statement = insert(events).values(recorded_at=now)
        await session.execute(statement, [wire.to_row(envelope) for envelope in envelopes])


async def store_deliveries(
    session: Session,
    owed: Sequence[tuple[Envelope, str]],
    *,
    attempts: int,
    due_at: ColumnElement[float],
) -> None:
    """Insert one delivery for each event and handler, in the caller's transaction."""
    statement = insert(deliveries).values(attempts=attempts, token=1, due_at=due_at)
    rows = [{"event_id": envelope.id, "handler": handler} for envelope, handler in owed]
    await session.execute(statement, rows)


async def settle(session: Session, delivery: Delivery) -> None:
    """Delete the delivery in hand, in the caller's transaction.

    :raises DeliverySuperseded: if it is not the caller's any more: the caller must roll back
    """
    if await session.write(delete(deliveries).where(_owned(delivery))) != 1:
        raise DeliverySuperseded(delivery.envelope.id, delivery.handler)


class SqlAlchemyOutbox:
    """The outbox in a database."""

    def __init__(self, database: Database, policy: DeliveryPolicy) -> None:
        self._database = database
        self._policy = policy
        self._settled: list[Delivery] = []
        self._settling = anyio.Lock()

    async def settle(self, delivery: Delivery) -> None:
        """Delete the delivery. All that settle while a statement is under way share the next."""
        self._settled.append(delivery)
        async with self._settling:
            if batch := list(self._settled):
                claims = _CLAIM.in_([_claim(done) for done in batch])
                await self._write(delete(deliveries).where(claims, _PENDING))
                del self._settled[: len(batch)]

    async def reschedule(self, delivery: Delivery, error: Exception, *, pause: float) -> None:
        due_at = self._database.clock + pause
        await self._update(delivery, last_error=_describe(error), due_at=due_at)

    async def park(self, delivery: Delivery, error: Exception) -> None:
        parked_at = self._database.clock
        await self._update(delivery, last_error=_describe(error), parked_at=parked_at)

    async def release(self, delivery: Delivery) -> None:
        attempts = deliveries.c.attempts - 1
        await self._update(
            delivery, attempts=attempts, token=_NEXT_TOKEN, due_at=self._database.clock
        )

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Delivery]:
        held_since = current_time()
        async with self._database.writing() as session:
            rows = (await session.execute(self._take_lease(limit, handlers))).all()
            deliveries = [delivery async for delivery in self._feasible(session, rows, held_since)]
            await session.commit()
        return deliveries

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        first_due = (
            select(deliveries.c.due_at - self._database.clock)
            .join(events)
            .where(_PENDING, deliveries.c.handler.in_(handlers), _READABLE)
            .order_by(deliveries.c.due_at)
            .limit(1)
        )
        async with self._database.reading() as session:
            seconds: float | None = (await session.execute(first_due)).scalar_one_or_none()
        return seconds

    async def strangers(self, handlers: Collection[str]) -> Sequence[Stranger]:
        key = (deliveries.c.handler, events.c.type)
        ours = and_(deliveries.c.handler.in_(handlers), _READABLE)
        overdue = deliveries.c.due_at <= self._database.clock - self._policy.lease
        statement = select(*key, func.count()).join_from(deliveries, events)
        async with self._database.reading() as session:
            rows = await session.execute(
                statement.where(_PENDING, overdue, ~ours).group_by(*key).order_by(*key)
            )
        return [Stranger(*tuple(row)) for row in rows]

    async def retry(self, event_id: EventId, handler: str) -> None:
        await self._change_one(self._make_due(), event_id, handler)

    async def retry_all_parked(self) -> int:
        return await self._write(self._make_due().where(~_PENDING), takes_time=True)

    async def discard(self, event_id: EventId, handler: str) -> None:
        await self._change_one(delete(deliveries), event_id, handler)

    async def prune_events(self, *, older_than: float) -> int:
        owing = exists().where(deliveries.c.event_id == events.c.id)
        moment = self._database.clock - older_than
        await self._write(delete(inbox).where(inbox.c.received_at < moment), takes_time=True)
        old = delete(events).where(events.c.recorded_at < moment, ~owing)
        return await self._write(old, takes_time=True)

    def _take_lease(self, limit: int, handlers: Collection[str]) -> ReturningUpdate[Any]:
        # in a CTE: as a subquery, the limit may be applied anew for each row of the outer table
        due = (
            select(deliveries.c.event_id, deliveries.c.handler)
            .join(events)
            .where(_PENDING, deliveries.c.due_at <= self._database.clock)
            .where(deliveries.c.handler.in_(handlers), _READABLE)
            .order_by(deliveries.c.due_at)
            .limit(limit)
            .with_for_update(of=deliveries, skip_locked=True)
            .cte("due")
        )
        return (
            update(deliveries)
            .where(_key_is(due.c.event_id, due.c.handler))
            .values(
                attempts=deliveries.c.attempts + 1,
                token=_NEXT_TOKEN,
                due_at=self._database.clock + self._policy.lease,
            )
            .returning(deliveries)
        )

    async def _feasible(
        self, session: Session, claimed: Sequence[Row[Any]], held_since: float
    ) -> AsyncIterator[Delivery]:
        """Yield the claims that can be tried, and park the others."""
        envelopes = await self._envelopes(session, {row.event_id for row in claimed})
        for row in claimed:
            envelope = envelopes[row.event_id]
            if row.attempts > self._policy.max_attempts:
                await self._park_row(session, row, "the last attempt did not finish")
            elif isinstance(envelope, InvalidMessage):
                logger.warning("%s parked on event %s: %s", row.handler, row.event_id, envelope)
                await self._park_row(session, row, _describe(envelope))
            else:
                yield Delivery(
                    envelope=envelope,
                    handler=row.handler,
                    attempt=row.attempts,
                    token=row.token,
                    held_since=held_since,
                )

    async def _park_row(self, session: Session, row: Row[Any], error: str) -> None:
        """Park a row instead of claiming it: the attempt is not made, so it does not count."""
        values = {
            "attempts": row.attempts - 1,
            "parked_at": self._database.clock,
            "last_error": error,
        }
        key = _key_is(row.event_id, row.handler)
        await session.execute(update(deliveries).where(key).values(values))

    async def _envelopes(
        self, session: Session, ids: set[EventId]
    ) -> dict[EventId, Envelope | InvalidMessage]:
        """Read these events at once; one by one, if one of them stops the others."""
        statement = select(events).where(events.c.id.in_(ids))
        try:
            return {row.id: _envelope(row) for row in await session.execute(statement)}
        except (ValueError, StatementRefused):
            return {event_id: await self._damaged(session, event_id) for event_id in ids}

    async def _damaged(self, session: Session, event_id: EventId) -> Envelope | InvalidMessage:
        try:
            result = await session.execute(select(events).where(events.c.id == event_id))
            return _envelope(result.one())
        except (ValueError, StatementRefused) as error:
            return InvalidPayload("an event", str(error))

    def _make_due(self) -> Update:
        return update(deliveries).values(
            attempts=0, token=_NEXT_TOKEN, due_at=self._database.clock, parked_at=None
        )

    async def _update(self, delivery: Delivery, **values: Any) -> None:
        await self._write(update(deliveries).where(_owned(delivery)).values(**values))

    async def _change_one(
        self, statement: Update | Delete, event_id: EventId, handler: str
    ) -> None:
        if not await self._write(statement.where(_key_is(event_id, handler))):
            raise DeliveryNotFound(event_id, handler)

    async def _write(self, statement: Update | Delete, *, takes_time: bool = False) -> int:
        async with self._database.writing() as session:
            if takes_time:
                await session.take_time()
            hit = await session.write(statement)
            await session.commit()
        return hit


def _envelope(row: Row[Any]) -> Envelope | InvalidMessage:
    try:
        return wire.from_row(row._asdict())
    except InvalidMessage as error:
        return error


def _claim(delivery: Delivery) -> tuple[EventId, str, int]:
    return delivery.envelope.id, delivery.handler, delivery.token


def _key_is(
    event_id: EventId | ColumnElement[UUID], handler: str | ColumnElement[str]
) -> ColumnElement[bool]:
    return and_(deliveries.c.event_id == event_id, deliveries.c.handler == handler)


def _owned(delivery: Delivery) -> ColumnElement[bool]:
    """The row, if no other claim has been made and it has not been parked since."""
    key = _key_is(delivery.envelope.id, delivery.handler)
    return and_(key, deliveries.c.token == delivery.token, _PENDING)


def _describe(error: Exception) -> str:
    """Return what can be stored of an error: its text may hold what no database takes."""
    text = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
