"""The outbox: events and deliveries in the database. See `service_layer/delivery.py` for the rules.

Every write of a claim filters on its fencing token. A claim goes by status, never by "later than
the last one seen", so an event whose transaction commits late is not skipped.
"""

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from functools import cache
from itertools import chain
from typing import Any

import anyio
import sqlalchemy as sa
from anyio import current_time
from anyio.lowlevel import checkpoint
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

SETTLED_AT_ONCE = 128  # SQLite has a limit for what makes one statement

delivery_key = sa.tuple_(deliveries.c.event_id, deliveries.c.handler)
NEXT_TOKEN = deliveries.c.token + 1
_VERSIONS = {name: wire.version_of(name) for name in wire.EVENT_TYPES}
READABLE = sa.or_(  # other types, and later versions, are for newer processes
    *(sa.and_(events.c.type == n, events.c.schema_version <= v) for n, v in _VERSIONS.items())
)
HANDLERS: sa.BindParameter[str] = sa.bindparam("handlers", expanding=True)
OURS = sa.and_(deliveries.c.handler.in_(HANDLERS), READABLE)  # what some handlers can do here

# the row of a claim, if no other has been made on it, and it has not been parked since
_CLAIM = (deliveries.c.event_id, deliveries.c.handler, deliveries.c.token)
_OWNED = sa.update(deliveries).where(
    *(column == sa.bindparam(f"claimed_{column.name}") for column in _CLAIM), PENDING
)

logger = logging.getLogger(__name__)


def pending(replay: bool, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """What is owed by `HANDLERS` and can be tried here, the longest due first."""
    owed = sa.select(*columns).join(events).where(PENDING, deliveries.c.replay == replay, OURS)
    return owed.order_by(deliveries.c.due_at)


class SqlAlchemyOutbox:
    """The outbox in a database. Its statements are made once: that costs as much as sending."""

    def __init__(self, database: Database, policy: DeliveryPolicy) -> None:
        self.database = database
        self._policy = policy
        self._settled: list[Delivery] = []
        self._settling = anyio.Lock()
        now, process = database.clock, database.process
        leased = {"attempts": 1, "due_at": now + policy.lease, "process": process}
        state = leased if policy.inline else {"attempts": 0, "due_at": now}
        self._insert_events = sa.insert(events).values(recorded_at=now)
        self._insert_deliveries = sa.insert(deliveries).values(token=1, **state)
        self._done: dict[str, Any] = {"finished_at": now, "due_at": None, "last_error": None}
        self._mark_done = _OWNED.values(**self._done, seconds=sa.bindparam("claimed_seconds"))
        self._mark_all_done = cache(self._marking)
        self._release = _OWNED.values(
            attempts=deliveries.c.attempts - 1, token=NEXT_TOKEN, process=None, due_at=now
        )
        firsts = (pending(replay, deliveries.c.due_at - now).limit(1) for replay in (False, True))
        self._seconds_until_due = sa.union_all(*(sa.select(first.subquery()) for first in firsts))
        self._take_lease, self._take_replayed = (self._leasing(replay) for replay in (False, True))

    async def store(
        self, session: Session, subscribed: Sequence[tuple[Envelope, Sequence[str]]]
    ) -> None:
        """Insert events, and a delivery to each of their handlers, in the caller's transaction."""
        if subscribed:
            rows = [wire.to_row(envelope) for envelope, _ in subscribed]
            await session.execute_by_commit(self._insert_events, rows)
        owed = [{"event_id": e.id, "handler": name} for e, names in subscribed for name in names]
        if owed:
            await session.execute_by_commit(self._insert_deliveries, owed)
            if not self._policy.inline:
                await session.execute_if_needed(self.database.kind.wake_workers)

    async def settle_within(self, session: Session, delivery: Delivery) -> None:
        """Mark the delivery in hand as done, in the caller's transaction.

        :raises DeliverySuperseded: if it is not the caller's any more: the caller must roll back
        """
        if await session.write(self._mark_done, _claimed(delivery)) != 1:
            raise DeliverySuperseded(delivery.envelope.id, delivery.handler)

    async def settle(self, delivery: Delivery) -> None:
        """Mark it as done. All that settle while a statement is under way share the next.

        A claim that somebody else has made since is passed over: its owner settles, or has settled.
        """
        self._settled.append(delivery)
        await checkpoint()  # others have ended at the same time
        async with self._settling:
            if batch := self._settled[:SETTLED_AT_ONCE]:
                count = 1 << (len(batch) - 1).bit_length()  # so that few statements are prepared
                padded = batch + batch[:1] * (count - len(batch))
                values = (_claimed(claim, n).items() for n, claim in enumerate(padded))
                await self._write(self._mark_all_done(count), dict(chain.from_iterable(values)))
                del self._settled[: len(batch)]

    async def record_failure(self, failure: Failure) -> None:
        delivery, error = failure.delivery, describe(failure.error)
        now, pause = self.database.clock, failure.retry_in
        fate = {"parked_at": now} if pause is None else {"due_at": now + pause}
        failed = _OWNED.values(process=None, last_error=error, **fate)
        async with self.database.writing() as session:
            if await session.write(failed, _claimed(delivery)) != 1:
                raise DeliverySuperseded(delivery.envelope.id, delivery.handler)
            await failures.keep(session, now, delivery, error, self.database.process)
            await session.commit()

    async def release(self, delivery: Delivery) -> None:
        await self._write(self._release, _claimed(delivery))

    async def claim(self, limit: int, handlers: Collection[str]) -> Sequence[Delivery]:
        held_since, asked = current_time(), {"limit": limit, "handlers": list(handlers)}
        async with self.database.writing() as session:
            rows = (await session.execute(self._take_lease, asked)).all()
            rows = rows or (await session.execute(self._take_replayed, asked)).all()
            for row in (row for row in rows if row.lost_by):
                await failures.keep_lost(session, self.database.clock, row)
            claims = [c async for c in self._feasible(session, rows, held_since)] if rows else []
            await session.commit()
        return claims

    async def seconds_until_due(self, handlers: Collection[str]) -> float | None:
        async with self.database.reading() as session:
            asked = {"handlers": list(handlers)}
            seconds = (await session.execute(self._seconds_until_due, asked)).scalars().all()
        return min(seconds, default=None)

    def _leasing(self, replay: bool) -> ReturningUpdate[Any]:
        """Return the statement that takes the leases of what is due."""
        # in a CTE: as a subquery, the limit may be applied anew for each row of the outer table
        due = (
            pending(replay, deliveries.c.event_id, deliveries.c.handler)
            .where(deliveries.c.due_at <= self.database.clock)
            .limit(sa.bindparam("limit", type_=sa.Integer))
            .with_for_update(of=deliveries, skip_locked=True)
            .cte("due")
        )
        return (
            sa.update(deliveries)
            .where(deliveries.c.event_id == due.c.event_id, deliveries.c.handler == due.c.handler)
            .values(
                attempts=deliveries.c.attempts + 1,
                token=NEXT_TOKEN,
                due_at=self.database.clock + self._policy.lease,
                process=self.database.process,
                lost_by=deliveries.c.process,  # the one before: SET sees the row as it was
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
            values = {"parked_at": self.database.clock, "last_error": error, "process": None}
            await session.write(park.values(attempts=row.attempts - 1, **values))

    async def _write(self, statement: sa.Update, claimed: dict[str, Any]) -> None:
        async with self.database.writing() as session:
            await session.write(statement, claimed)
            await session.commit()

    def _marking(self, count: int) -> sa.Update:
        """Say it in one statement: frozen in a series of them, a process evades the time limits."""
        claims = _claims(count)
        owned = (column == claims.c[column.name] for column in _CLAIM)
        marked = sa.update(deliveries).where(*owned, PENDING)
        return marked.values(**self._done, seconds=claims.c.seconds)


def _claimed(delivery: Delivery, nth: int | str = "") -> dict[str, Any]:
    """Return the parameters by which `_OWNED`, or `_claims`, finds a row."""
    return {
        f"claimed_event_id{nth}": delivery.envelope.id,
        f"claimed_handler{nth}": delivery.handler,
        f"claimed_token{nth}": delivery.token,
        f"claimed_seconds{nth}": delivery.seconds(),
    }


def _claims(count: int) -> sa.CTE:
    """So many claims as a table, whose values are parameters."""
    columns = (*_CLAIM, deliveries.c.seconds)
    rows = (
        [sa.bindparam(f"claimed_{c.name}{n}", type_=c.type).label(c.name) for c in columns]
        for n in range(count)
    )
    return sa.union_all(*(sa.select(*row) for row in rows)).cte("claims")
