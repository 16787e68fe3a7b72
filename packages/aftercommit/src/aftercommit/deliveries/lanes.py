"""Lanes: the deliveries of an ordered handler that have one key, in the order of their commits.

A row has its lane, its position in the lane, and `blocked`, if an earlier row of its lane is not
done. Blocked rows are in no index that claims read. So the order costs a claim nothing, and even a
process that knows the handler as unordered, or by another name, keeps it. Completing or discarding
a row unblocks the next one, in the same transaction.

On PostgreSQL, concurrent transactions do not see each other: one could store a row as blocked while
the other completes the last row before it, and sees no row to unblock. So each transaction locks
its lanes, with one statement and in one order, after all its other changes and before it stores
events. What follows must see what was committed before the lock was taken, so it is separate.

To store an event, a transaction has to wait for its lane. To complete a delivery, it does not wait:
the lease could end meanwhile, and the effect would be repeated. If the lane is locked, the
transaction unblocks nothing, and its process does that later: see `deferred_unblocking.py`.

A session of the application goes on after it has recorded an event, and locks other rows. So its
deliveries are first stored blocked and without a position, and get their places right before the
COMMIT. If a COMMIT bypasses SQLAlchemy, a worker gives them their places.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.states import UNPLACED, Now, placed, unblocked
from aftercommit.deliveries.tables import deliveries, events
from aftercommit.envelopes import EventId

SNAPSHOTS = ["repeatable read", "serializable"]  # see what was committed before they began

_earlier, _later, _ended = deliveries.alias(), deliveries.alias(), deliveries.alias()
_NEXT_POSITION = sa.Sequence("aftercommit_events_position", data_type=sa.BigInteger).next_value()

_lanes: sa.BindParameter[Any] = sa.bindparam("lanes", expanding=True)
IN_THESE_LANES = deliveries.c.lane.in_(_lanes)


class LanePosition(NamedTuple):
    """A row of a lane that has ended: the parameters of `unblocking`."""

    of_lane: str
    after: int
    ended_id: EventId
    ended_handler: str


def lock_keys(lanes: Iterable[str]) -> list[int]:
    """Return the keys of the locks on some lanes: 64 bits, in order."""
    return sorted({_lock_key(lane) for lane in lanes})


def _lock_key(lane: str) -> int:
    name = lane.encode(errors="replace")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


def _placement() -> ReturningUpdate[str, bool]:
    """Return the statement that gives rows without a position their places, in locked lanes.

    The places are behind all others, in the order of recording; the event gets the same position. A
    snapshot older than the locks may not show other rows, or that they are done. Then all rows stay
    blocked, and `is_stale` says that they have to be unblocked.
    """
    row = deliveries.c
    lanes: sa.BindParameter[Any] = sa.bindparam("lanes", expanding=True)
    recorded = events.c.position.label("recorded")
    number = sa.func.row_number().over(partition_by=row.lane, order_by=recorded)
    new = (
        sa.select(row.event_id, row.handler, row.lane, recorded, number.label("number"))
        .join(events)
        .where(UNPLACED, row.lane.in_(lanes))
        .cte("new")
    )
    each = sa.select(new.c.event_id).group_by(new.c.event_id).order_by(sa.func.min(new.c.recorded))
    in_order, position = each.subquery(), _NEXT_POSITION.label("position")
    places = sa.select(in_order.c.event_id, position).cte("places")  # volatile: it is computed once
    moved = (
        sa.update(events)
        .where(events.c.id == places.c.event_id)
        .values(position=places.c.position)
        .cte("moved")
    )
    is_behind = sa.exists().where(
        _earlier.c.lane == new.c.lane,
        _earlier.c.completed_at.is_(None),
        _earlier.c.position.is_not(None),
    )
    is_stale = sa.func.current_setting("transaction_isolation").in_(SNAPSHOTS)
    blocked = sa.or_(is_stale, new.c.number > 1, is_behind)
    this = row.event_id == new.c.event_id, row.handler == new.c.handler
    change = placed(places.c.position, blocked).update_found(
        *this, places.c.event_id == row.event_id
    )
    return change.returning(row.lane, is_stale.label("is_stale")).add_cte(moved)


def unblocking(now: Now) -> sa.Update:
    """Return the statement that unblocks the first row after one that has ended.

    It unblocks nothing if the ended row was itself blocked: then a replay has stored others before
    it while it ran. Ended rows are not read, because an index keeps them for old snapshots.
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
    of_lane = row.lane == sa.bindparam("of_lane"), row.position == first.scalar_subquery()
    return unblocked(now).update(*of_lane, ~was_blocked)


PLACEMENT = _placement()


async def lock_lanes(
    transaction: Transaction,
    database: Database,
    lanes: Iterable[str],
    *,
    if_free: Collection[str] = (),
) -> Collection[str]:
    """Wait for others that change these lanes; then make them wait for this commit.

    For the lanes `if_free`, it does not wait: it returns which of them it has locked.
    """
    backend, waited = database.backend, set(lanes)
    tried = {_lock_key(lane): lane for lane in if_free if lane not in waited}
    got = [lane for lane in if_free if lane in waited]
    keys = lock_keys(waited)
    if backend.lock_lanes is None or backend.try_lanes is None:
        return if_free
    if tried:
        locks = await transaction.execute(backend.try_lanes, {"keys": keys, "tried": [*tried]})
        return got + [tried[row.key] for row in locks if row.key in tried and row.is_locked]
    if keys:
        await transaction.execute(backend.lock_lanes, {"keys": keys})
    return got


async def after_end(
    transaction: Transaction, database: Database, places: Sequence[LanePosition]
) -> None:
    """Unblock the rows after those that have ended."""
    unblock = unblocking(database.clock)
    for each in places:
        await transaction.execute_dml(unblock, each._asdict())
    if places:
        transaction.notify_workers()
