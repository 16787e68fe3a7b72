"""Lanes: the deliveries of an ordered handler that have one key, in the order of their commits.

A row has its lane, its position in it, and `blocked`: an earlier one of its lane is not done. What
is blocked is in no index that claims look into. So an order costs a claim nothing, and a process
that knows the handler as a plain one, or by another name, keeps it, too. Whatever completes or
discards a row unblocks the next one, in the same transaction.

On PostgreSQL two transactions do not see each other: one would store a row that it takes for
blocked, while the other completes the last one before it, and sees none to unblock. So each locks
its lanes, all of them with one statement and in one order: after all that it has changed besides,
and before it stores events. It must go by what was committed before it got the lock: so these are
statements of their own. A lock is shared by many lanes, or there might be too many.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

import sqlalchemy as sa

from aftercommit.claims import NewDelivery
from aftercommit.envelopes import EventId
from aftercommit.sql.database import Database
from aftercommit.sql.tables import FINISHED, IN_LANE, deliveries, events
from aftercommit.sql.transaction import Transaction

LOCKS = 1024
UNBLOCK_TOGETHER = 100

Now = sa.ColumnElement[float]
_earlier, _later, _ended = deliveries.alias(), deliveries.alias(), deliveries.alias()

# the first of each lane, by its index: however long a lane is
_STUCK = sa.text("""
WITH RECURSIVE lanes (lane) AS (
    SELECT min(lane) FROM aftercommit_deliveries WHERE lane IS NOT NULL AND completed_at IS NULL
    UNION ALL
    SELECT (
        SELECT min(lane) FROM aftercommit_deliveries
        WHERE lane > lanes.lane AND lane IS NOT NULL AND completed_at IS NULL
    ) FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lanes.lane FROM lanes JOIN aftercommit_deliveries AS delivery
    ON delivery.lane = lanes.lane AND delivery.completed_at IS NULL AND delivery.blocked
    AND delivery.position = (
        SELECT min(position) FROM aftercommit_deliveries AS first
        WHERE first.lane = lanes.lane AND first.completed_at IS NULL
    )
""")


class Place(NamedTuple):
    """A row of a lane that has ended: the parameters of `unblocking`."""

    of_lane: str
    after: int
    ended_id: EventId
    ended_handler: str


def lock_keys(lanes: Iterable[str]) -> list[int]:
    """Return the keys of the locks on some lanes, in the order in which they are locked."""
    return sorted({crc32(lane.encode(errors="replace")) % LOCKS for lane in lanes})


def insertion(due: sa.ColumnElement[float]) -> sa.Insert:
    """Return the statement that stores rows of lanes that are locked; it returns `blocked`.

    `is_behind` says whether one before it in its lane is stored with the same statement.
    """
    last = sa.select(sa.func.max(_earlier.c.position)).where(
        _earlier.c.lane == sa.bindparam("in_lane"), _earlier.c.completed_at.is_(None)
    )
    of_event = sa.select(events.c.position).where(
        events.c.id == sa.bindparam("of_event", type_=sa.Uuid)
    )
    return sa.insert(deliveries).values(
        attempts=0,
        token=1,
        available_at=due,
        position=of_event.scalar_subquery(),
        blocked=sa.or_(
            sa.bindparam("is_behind", type_=sa.Boolean), last.scalar_subquery().is_not(None)
        ),
    )


def rows_of(new: Iterable[NewDelivery]) -> list[dict[str, Any]]:
    """Return the parameters of `insertion` for those of some deliveries that are in lanes."""
    rows, seen = [], set[str]()
    for envelope, handler, _, lane in new:
        if lane:
            key = {"event_id": envelope.id, "handler": handler, "lane": lane, "subscriber": handler}
            key["schema_version"] = envelope.schema_version
            rows.append(key | {"of_event": envelope.id, "in_lane": lane, "is_behind": lane in seen})
            seen.add(lane)
    return rows


def unblocking(now: Now) -> sa.Update:
    """Return the statement that unblocks the first row after one that has ended, at a `Place`.

    Unless that one was blocked itself: a replay has stored others before it while it ran. What
    ended is not looked at, for an index keeps such rows as long as somebody might see them.
    """
    first = sa.select(sa.func.min(_later.c.position)).where(
        _later.c.lane == sa.bindparam("of_lane"),
        _later.c.completed_at.is_(None),
        _later.c.position > sa.bindparam("after", type_=sa.BigInteger),
    )
    was_blocked = sa.exists().where(
        _ended.c.event_id == sa.bindparam("ended_id", type_=sa.Uuid),
        _ended.c.handler == sa.bindparam("ended_handler"),
        _ended.c.blocked,
    )
    row = deliveries.c
    of_lane = (
        row.lane == sa.bindparam("of_lane"),
        ~FINISHED,
        row.position == first.scalar_subquery(),
    )
    due = sa.case((row.available_at < now, now), else_=row.available_at)
    unblocked = sa.update(deliveries).where(*of_lane, row.blocked, ~was_blocked)
    return unblocked.values(blocked=False, available_at=due)


async def lock_lanes(transaction: Transaction, database: Database, lanes: Iterable[str]) -> None:
    """Wait for others that change something in these lanes; then they wait for this commit."""
    statement, keys = database.backend.lock_lanes, lock_keys(lanes)
    if statement is not None and keys:
        await transaction.execute(statement, {"keys": keys})


async def before_end(
    transaction: Transaction, database: Database, *which: sa.ColumnElement[bool]
) -> Sequence[Place]:
    """Lock the lanes of rows that are about to end; return where these rows are."""
    row = deliveries.c
    places = sa.select(row.lane, row.position, row.event_id, row.handler).where(IN_LANE, *which)
    found = (await transaction.execute(places)).all()
    await lock_lanes(transaction, database, [each.lane for each in found])
    return [Place._make(each) for each in found]


async def after_end(transaction: Transaction, database: Database, places: Sequence[Place]) -> None:
    """Unblock what comes after rows that have ended."""
    unblock = unblocking(database.clock)
    for each in places:
        await transaction.execute_dml(unblock, each._asdict())
    if places:
        transaction.notify_workers()


async def unblock_heads(database: Database) -> None:
    """Unblock what is first in its lane, and blocked: somebody has passed these lanes by."""
    async with database.read_transaction() as transaction:
        stuck = (await transaction.execute(_STUCK)).scalars().all()
    for start in range(0, len(stuck), UNBLOCK_TOGETHER):
        some = stuck[start : start + UNBLOCK_TOGETHER]
        async with database.write_transaction() as transaction:
            await lock_lanes(transaction, database, some)
            fronts = [Place(lane, -1, EventId(UUID(int=0)), "") for lane in some]
            await after_end(transaction, database, fronts)
            await transaction.commit()
