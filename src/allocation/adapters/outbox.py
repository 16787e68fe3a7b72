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

from allocation.adapters import failures, wire
from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import InvalidMessage
from allocation.adapters.failures import describe
from allocation.adapters.orm import PENDING, deliveries, events
from allocation.adapters.stored_events import read_envelopes
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, Failure
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.exceptions import DeliverySuperseded

delivery_key = sa.tuple_(deliveries.c.event_id, deliveries.c.handler)
NEXT_TOKEN = deliveries.c.token + 1
READABLE = sa.or_(  # type and version: other events are for newer processes
    *(
        sa.and_(events.c.type == name, events.c.schema_version <= wire.version_of(name))
        for name in wire.EVENT_TYPES
    )
)

_CLAIM = (deliveries.c.event_id, deliveries.c.handler, deliveries.c.token)

Claimed = dict[str, Any]

logger = logging.getLogger(__name__)


async def store(
    session: Session,
    database: Database,
    policy: DeliveryPolicy,
    subscribed: Sequence[tuple[Envelope, Sequence[str]]],
) -> None:
    """Insert events, and a delivery to each of their handlers, in the caller's transaction."""
    now = database.clock
    if subscribed:
        rows = [wire.to_row(envelope) for envelope, _ in subscribed]
        await session.execute(sa.insert(events).values(recorded_at=now), rows)
    if owed := [{"event_id": e.id, "handler": name} for e, names in subscribed for name in names]:
        leased = {"attempts": 1, "due_at": now + policy.lease, "process": database.process}
        state = leased if policy.inline else {"attempts": 0, "due_at": now}
        await session.execute(sa.insert(deliveries).values(token=1, **state), owed)


async def settle(session: Session, database: Database, delivery: Delivery) -> None:
    """Mark the delivery in hand as done, in the caller's transaction.

    :raises DeliverySuperseded: if it is not the caller's any more: the caller must roll back
    """
    if await session.write(_done(database), _claimed(delivery)) != 1:
        raise DeliverySuperseded(delivery.envelope.id, delivery.handler)


class SqlAlchemyOutbox:
    """The outbox in a database."""

    def __init__(self, database: Database, policy: DeliveryPolicy) -> None:
        self._database = database
        self._policy = policy
        self._settled: list[Delivery] = []
        self._settling = anyio.Lock()

    async def settle(self, delivery: Delivery) -> None:
        """Mark it as done. All that settle while a statement is under way share the next."""
        self._settled.append(delivery)
        async with self._settling:
            if batch := list(self._settled):
                await self._write(_done(self._database), list(map(_claimed, batch)))
                del self._settled[: len(batch)]

    async def record_failure(self, failure: Failure) -> None:
        delivery, error = failure.delivery, describe(failure.error)
        now, pause = self._database.clock, failure.retry_in
        fate = {"parked_at": now} if pause is None else {"due_at": now + pause}
        failed = _owned().values(process=None, last_error=error, **fate)
        async with self._database.writing() as session:
            if await session.write(failed, _claimed(delivery)):
                await failures.keep(session, now, delivery, error, self._database.process)
            await session.commit()

    async def release(self, delivery: Delivery) -> None:
        counts = {"attempts": deliveries.c.attempts - 1, "token": NEXT_TOKEN, "process": None}
        released = _owned().values(**counts, due_at=self._database.clock)
        await self._write(released, _claimed(delivery))

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Delivery]:
        held_since = current_time()
        async with self._database.writing() as session:
            rows = (await session.execute(self._take_lease(limit, handlers))).all()
            if not rows:
                take_replayed = self._take_lease(limit, handlers, replay=True)
                rows = (await session.execute(take_replayed)).all()
            for row in rows:
                if row.lost_by:
                    await failures.keep_lost(session, self._database.clock, row)
            claims = [claim async for claim in self._feasible(session, rows, held_since)]
            await session.commit()
        return claims

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        pause = deliveries.c.due_at - self._database.clock
        firsts = [_pending(handlers, pause, replay=replay).limit(1) for replay in (False, True)]
        either = sa.union_all(*(sa.select(first.subquery()) for first in firsts))
        async with self._database.reading() as session:
            seconds = (await session.execute(either)).scalars().all()
        return min(seconds, default=None)

    def _take_lease(
        self, limit: int, handlers: Collection[str], *, replay: bool = False
    ) -> ReturningUpdate[Any]:
        # in a CTE: as a subquery, the limit may be applied anew for each row of the outer table
        due = (
            _pending(handlers, deliveries.c.event_id, deliveries.c.handler, replay=replay)
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
                process=self._database.process,
                lost_by=deliveries.c.process,
            )
            .returning(deliveries)
        )

    async def _feasible(
        self, session: Session, claimed: Sequence[sa.Row[Any]], held_since: float
    ) -> AsyncIterator[Delivery]:
        """Yield the claims that can be tried; park the others, whose attempt does not count."""
        envelopes = await read_envelopes(session, {row.event_id for row in claimed})
        for row in claimed:
            envelope = envelopes[row.event_id]
            if row.attempts > self._policy.max_attempts:
                error = "the last attempt did not finish"
            elif isinstance(envelope, InvalidMessage):
                error = describe(envelope)
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
            values = {"parked_at": self._database.clock, "last_error": error, "process": None}
            await session.write(park.values(attempts=row.attempts - 1, **values))

    async def _write(self, statement: sa.Update, claims: Claimed | list[Claimed]) -> None:
        async with self._database.writing() as session:
            await session.write(statement, claims)
            await session.commit()


def _pending(
    handlers: Collection[str], *columns: sa.ColumnElement[Any], replay: bool
) -> sa.Select[Any]:
    """What these handlers owe and can be tried here, the longest due first."""
    ours = PENDING, deliveries.c.replay == replay, deliveries.c.handler.in_(handlers), READABLE
    return sa.select(*columns).join(events).where(*ours).order_by(deliveries.c.due_at)


def _owned() -> sa.Update:
    """The row of a claim, if no other has been made on it and it has not been parked since."""
    claimed = (column == sa.bindparam(f"claimed_{column.name}") for column in _CLAIM)
    return sa.update(deliveries).where(*claimed, PENDING)


def _done(database: Database) -> sa.Update:
    took: sa.BindParameter[float] = sa.bindparam("claimed_seconds")
    now = database.clock
    return _owned().values(finished_at=now, due_at=None, seconds=took, last_error=None)


def _claimed(delivery: Delivery) -> Claimed:
    """Return the parameters of the statements above."""
    return {
        "claimed_event_id": delivery.envelope.id,
        "claimed_handler": delivery.handler,
        "claimed_token": delivery.token,
        "claimed_seconds": delivery.seconds(),
    }
