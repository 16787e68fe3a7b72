"""The outbox: events and deliveries in the database. See `service_layer/delivery.py` for the rules.

Every write of a claim filters on its fencing token. A claim goes by status, never by "later than
the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import anyio
import sqlalchemy as sa
from anyio import current_time
from sqlalchemy.sql.dml import ReturningUpdate

from allocation.adapters import wire
from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import InvalidMessage, InvalidPayload, StatementRefused
from allocation.adapters.orm import PENDING, deliveries, events
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, Failure
from allocation.service_layer.envelopes import Envelope, EventId
from allocation.service_layer.exceptions import DeliverySuperseded

MAX_ERROR_LENGTH = 2000  # characters of an error that are kept

delivery_key = sa.tuple_(deliveries.c.event_id, deliveries.c.handler)
NEXT_TOKEN = deliveries.c.token + 1
READABLE = sa.or_(  # type and version: other events are for newer processes
    *(
        sa.and_(events.c.type == name, events.c.schema_version <= wire.version_of(name))
        for name in wire.EVENT_TYPES
    )
)

_CLAIM = sa.tuple_(deliveries.c.event_id, deliveries.c.handler, deliveries.c.token)

logger = logging.getLogger(__name__)


async def store(
    session: Session,
    now: sa.ColumnElement[float],
    policy: DeliveryPolicy,
    subscribed: Sequence[tuple[Envelope, Sequence[str]]],
) -> None:
    """Insert events, and a delivery to each of their handlers, in the caller's transaction."""
    if subscribed:
        rows = [wire.to_row(envelope) for envelope, _ in subscribed]
        await session.execute(sa.insert(events).values(recorded_at=now), rows)
    if owed := [{"event_id": e.id, "handler": name} for e, names in subscribed for name in names]:
        attempts, due_at = (1, now + policy.lease) if policy.inline else (0, now)
        first = sa.insert(deliveries).values(attempts=attempts, token=1, due_at=due_at)
        await session.execute(first, owed)


async def settle(session: Session, delivery: Delivery) -> None:
    """Delete the delivery in hand, in the caller's transaction.

    :raises DeliverySuperseded: if it is not the caller's any more: the caller must roll back
    """
    if await session.write(sa.delete(deliveries).where(*_owned(delivery))) != 1:
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
                await self._write(sa.delete(deliveries).where(*_owned(*batch)))
                del self._settled[: len(batch)]

    async def record_failure(self, failure: Failure) -> None:
        now, pause = self._database.clock, failure.retry_in
        fate = {"parked_at": now} if pause is None else {"due_at": now + pause}
        await self._update(failure.delivery, last_error=_describe(failure.error), **fate)

    async def release(self, delivery: Delivery) -> None:
        counts = {"attempts": deliveries.c.attempts - 1, "token": NEXT_TOKEN}
        await self._update(delivery, **counts, due_at=self._database.clock)

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Delivery]:
        held_since = current_time()
        async with self._database.writing() as session:
            rows = (await session.execute(self._take_lease(limit, handlers))).all()
            claims = [claim async for claim in self._feasible(session, rows, held_since)]
            await session.commit()
        return claims

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        first = _pending(handlers, deliveries.c.due_at - self._database.clock).limit(1)
        async with self._database.reading() as session:
            seconds: float | None = (await session.execute(first)).scalar_one_or_none()
        return seconds

    def _take_lease(self, limit: int, handlers: Collection[str]) -> ReturningUpdate[Any]:
        # in a CTE: as a subquery, the limit may be applied anew for each row of the outer table
        due = (
            _pending(handlers, deliveries.c.event_id, deliveries.c.handler)
            .where(deliveries.c.due_at <= self._database.clock)
            .limit(limit)
            .with_for_update(of=deliveries, skip_locked=True)
            .cte("due")
        )
        return (
            sa.update(deliveries)
            .where(deliveries.c.event_id == due.c.event_id, deliveries.c.handler == due.c.handler)
            .values(
                attempts=deliveries.c.attempts + 1,
                token=NEXT_TOKEN,
                due_at=self._database.clock + self._policy.lease,
            )
            .returning(deliveries)
        )

    async def _feasible(
        self, session: Session, claimed: Sequence[sa.Row[Any]], held_since: float
    ) -> AsyncIterator[Delivery]:
        """Yield the claims that can be tried; park the others, whose attempt does not count."""
        envelopes = await self._envelopes(session, {row.event_id for row in claimed})
        for row in claimed:
            envelope = envelopes[row.event_id]
            if row.attempts > self._policy.max_attempts:
                error = "the last attempt did not finish"
            elif isinstance(envelope, InvalidMessage):
                error = _describe(envelope)
                logger.warning("%s parked on event %s: %s", row.handler, row.event_id, envelope)
            else:
                yield Delivery(
                    envelope=envelope,
                    handler=row.handler,
                    attempt=row.attempts,
                    token=row.token,
                    held_since=held_since,
                )
                continue
            park = sa.update(deliveries).where(delivery_key == (row.event_id, row.handler))
            values = {"parked_at": self._database.clock, "last_error": error}
            await session.write(park.values(attempts=row.attempts - 1, **values))

    async def _envelopes(
        self, session: Session, ids: Collection[EventId]
    ) -> dict[EventId, Envelope | InvalidMessage]:
        """Read these events at once; one by one, if one of them stops the others."""
        statement = sa.select(events).where(events.c.id.in_(ids))
        try:
            return {row.id: _envelope(row) for row in await session.execute(statement)}
        except (ValueError, StatementRefused) as error:
            if len(ids) == 1:
                return dict.fromkeys(ids, InvalidPayload("an event", str(error)))
            one_by_one = [await self._envelopes(session, [event_id]) for event_id in ids]
            return {event_id: found[event_id] for found in one_by_one for event_id in found}

    async def _update(self, delivery: Delivery, **values: Any) -> None:
        await self._write(sa.update(deliveries).where(*_owned(delivery)).values(**values))

    async def _write(self, statement: sa.Update | sa.Delete) -> None:
        async with self._database.writing() as session:
            await session.write(statement)
            await session.commit()


def _envelope(row: sa.Row[Any]) -> Envelope | InvalidMessage:
    try:
        return wire.from_row(row._asdict())
    except InvalidMessage as error:
        return error


def _pending(handlers: Collection[str], *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """What these handlers owe and can be tried here, the longest due first."""
    ours = PENDING, deliveries.c.handler.in_(handlers), READABLE
    return sa.select(*columns).join(events).where(*ours).order_by(deliveries.c.due_at)


def _owned(*claims: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    """The rows, if no other claim has been made on them and they have not been parked since."""
    keys = [(claim.envelope.id, claim.handler, claim.token) for claim in claims]
    return _CLAIM.in_(keys), PENDING


def _describe(error: Exception) -> str:
    """Return what can be stored of an error: its text may hold what no database takes."""
    text = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
