"""Lanes: the deliveries of an ordered handler that have one key, in the order of their commits.

A row has its lane, its position in it, and `blocked`: an earlier one of its lane is not done. What
is blocked is in no index that claims look into. So an order costs a claim nothing, and a process
that knows the handler as a plain one, or by another name, keeps it, too. Whatever completes or
discards a row unblocks the next one, in the same transaction.

On PostgreSQL two transactions do not see each other: one would store a row that it takes for
blocked, while the other completes the last one before it, and sees none to unblock. So each locks
its lanes, all of them with one statement and in one order: after all that it has changed besides,
and before it stores events. It must go by what was committed before it got the lock: so these are
statements of their own.

Who stores an event has to wait for its lane. Who completes a delivery does not: a lease would end
meanwhile, and its effect would be repeated. If somebody else has locked the lane, it unblocks
nothing, and its process does that when the lock is free: see `unblock_soon`.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

import sqlalchemy as sa
from anyio import move_on_after, sleep

from aftercommit.claims import NewDelivery
from aftercommit.envelopes import EventId
from aftercommit.errors import Unavailable
from aftercommit.sql.database import Database
from aftercommit.sql.tables import FINISHED, IN_LANE, deliveries, events
from aftercommit.sql.transaction import Transaction

PARTS = 1024
UNBLOCK_TOGETHER = 100
PAUSE_SECONDS = 0.5
RETRY_SECONDS = 1.0  # if the database is away
FINAL_SECONDS = 2.0

logger = logging.getLogger(__name__)

Now = sa.ColumnElement[float]
_earlier, _later, _ended = deliveries.alias(), deliveries.alias(), deliveries.alias()

_lanes: sa.BindParameter[Any] = sa.bindparam("lanes", expanding=True)
IN_THESE_LANES = deliveries.c.lane.in_(_lanes), ~FINISHED
IS_BEHIND = sa.exists().where(
    _earlier.c.lane == deliveries.c.lane,
    _earlier.c.completed_at.is_(None),
    _earlier.c.position < deliveries.c.position,
)
_NOT_FIRST = ~deliveries.c.blocked, IS_BEHIND
# what runs goes on to its end, and then lets nothing begin
BLOCK_FOLLOWERS = sa.update(deliveries).where(*IN_THESE_LANES, *_NOT_FIRST).values(blocked=True)

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
    """Return the keys of the locks on some lanes: 64 bits, of which the last ten are the part."""
    return sorted({_lock_key(lane) for lane in lanes})


def _lock_key(lane: str) -> int:
    name = lane.encode(errors="replace")
    key = int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)
    return key & -PARTS | crc32(name) % PARTS  # 0.2 locks by the latter


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


async def lock_lanes(
    transaction: Transaction,
    database: Database,
    lanes: Iterable[str],
    *,
    if_free: Collection[str] = (),
) -> Collection[str]:
    """Wait for others that change something in these lanes; then they wait for this commit.

    Those that are wanted `if_free` are not waited for: return which of them it has got.
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


async def mend_lanes(database: Database) -> None:
    """Let each lane have one that is not blocked: its first. It reads all that waits in lanes.

    A lane has two after a change in SQL, or if an older version of the engine has let them begin.
    """
    several = sa.select(deliveries.c.lane).where(IN_LANE, *_NOT_FIRST).distinct()
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(several)).scalars().all()
    for start in range(0, len(found), UNBLOCK_TOGETHER):
        some = found[start : start + UNBLOCK_TOGETHER]
        async with database.write_transaction() as transaction:
            await lock_lanes(transaction, database, some)
            await transaction.execute_dml(BLOCK_FOLLOWERS, {"lanes": some})
            await transaction.commit()
    await unblock_heads(database)


async def unblock_heads(database: Database) -> None:
    """Unblock what is first in its lane, and blocked: somebody has passed these lanes by."""
    async with database.read_transaction() as transaction:
        stuck = (await transaction.execute(_STUCK)).scalars().all()
    for lane in await _try_to_unblock(database, stuck):
        unblock_soon(database, lane)


async def _try_to_unblock(database: Database, lanes: Sequence[str]) -> Sequence[str]:
    """Unblock the first of each lane; return those lanes that others have locked."""
    left = list[str]()
    for start in range(0, len(lanes), UNBLOCK_TOGETHER):
        some = lanes[start : start + UNBLOCK_TOGETHER]
        async with database.write_transaction() as transaction:
            free = {*await lock_lanes(transaction, database, (), if_free=some)}
            await _unblock_first(transaction, database, free)
            await transaction.commit()
        left += [lane for lane in some if lane not in free]
    return left


async def _unblock_first(
    transaction: Transaction, database: Database, lanes: Iterable[str]
) -> None:
    """Unblock the first of each of these lanes, which are locked."""
    fronts = [Place(lane, -1, EventId(UUID(int=0)), "") for lane in lanes]
    await after_end(transaction, database, fronts)


def unblock_soon(database: Database, lane: str) -> None:
    """Unblock the first of a lane as soon as the lane is free: what was before it has ended.

    If this process dies before that, a worker finds the lane: see `unblock_heads`.
    """
    lanes = database.passed_lanes
    is_unblocking = bool(lanes)
    lanes[lane] += 1
    if not is_unblocking:
        database.backend.start_soon(partial(_unblock_passed, database))


async def _unblock_passed(database: Database) -> None:
    """Unblock what is passed by, until nothing is; and once more when the database is closed."""
    try:
        while database.passed_lanes:
            try:
                if left := await _unblock_free(database):
                    await _wait_for(database, left[0])
            except Exception as error:  # nothing in the database may end this
                logger.warning("lanes are not unblocked yet: %s", error)
                await sleep(RETRY_SECONDS)
    finally:
        if database.passed_lanes:
            with move_on_after(FINAL_SECONDS, shield=True), suppress(Exception):
                await _unblock_free(database)


async def _unblock_free(database: Database) -> Sequence[str]:
    passed = database.passed_lanes.copy()
    left = await _try_to_unblock(database, [*passed])
    for lane in passed.keys() - {*left}:
        _unblocked(database, lane, passed[lane])
    return left


async def _wait_for(database: Database, lane: str) -> None:
    """Stand in line for one lane, for a moment: where many want it, it may never be free."""
    lanes = database.passed_lanes
    count = lanes[lane]
    try:
        async with database.write_transaction() as transaction:
            await transaction.execute(database.backend.wait_shortly)
            await lock_lanes(transaction, database, [lane])
            await _unblock_first(transaction, database, [lane])
            await transaction.commit()
    except Unavailable:
        lanes[lane] = lanes.pop(lane)  # next is the turn of others
        await sleep(PAUSE_SECONDS)  # and of those who need a connection: there may be only one
    else:
        _unblocked(database, lane, count)


def _unblocked(database: Database, lane: str, count: int) -> None:
    """Forget a lane, unless it was passed by again meanwhile."""
    if database.passed_lanes[lane] == count:
        del database.passed_lanes[lane]
