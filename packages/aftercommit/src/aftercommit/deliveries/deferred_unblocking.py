"""Unblocks the first delivery of a lane that was locked when the one before it ended.

If a delivery is completed while another session has locked its lane, the next delivery stays
blocked. So the process waits in line for the lane, and then unblocks it. If that process dies, or
if somebody has changed rows with SQL, a worker finds the lane.
"""

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import sqlalchemy as sa
from anyio import move_on_after, sleep

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.lanes import (
    IN_THESE_LANES,
    PLACEMENT,
    LanePosition,
    after_end,
    lock_lanes,
)
from aftercommit.deliveries.states import blocked
from aftercommit.deliveries.tables import deliveries
from aftercommit.envelopes import EventId
from aftercommit.errors import Unavailable

TOGETHER = 100
PAUSE_SECONDS = 0.5
RETRY_SECONDS = 1.0  # if the database is down
FINAL_SECONDS = 2.0

logger = logging.getLogger(__name__)

# the first of each lane, through its index, however long a lane is; and deliveries that were
# committed without a place
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
UNION
SELECT lanes.lane FROM lanes WHERE EXISTS (
    SELECT 1 FROM aftercommit_deliveries AS unplaced
    WHERE unplaced.lane = lanes.lane AND unplaced.completed_at IS NULL
    AND unplaced.position IS NULL
)
""")


def unblock_soon(database: Database, lane: str) -> None:
    """Unblock the first of a lane as soon as the lane is free, because the one before has ended.

    If this process dies before, a worker finds the lane: see `unblock_heads`.
    """
    lanes = database.passed_lanes
    is_unblocking = bool(lanes)
    lanes[lane] += 1
    if not is_unblocking:
        database.backend.start_soon(partial(_unblock_passed, database))


async def _unblock_passed(database: Database) -> None:
    """Unblock passed lanes until there are none; and once more when the database is closed."""
    try:
        while database.passed_lanes:
            try:
                if left := await _unblock_free(database):
                    await _wait_for(database, left[0])
            except Exception as error:  # no error of the database may end this
                logger.warning("lanes could not be unblocked yet: %s", error)
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
    """Wait in line for one lane, for a moment: a lane in demand may never be free."""
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
    """Forget a lane, unless it was passed again meanwhile."""
    if database.passed_lanes[lane] == count:
        del database.passed_lanes[lane]


async def mend_lanes(database: Database) -> None:
    """Give each lane exactly one delivery that is not blocked, its first. Reads all waiting rows.

    A lane may have two after a change with SQL, or if an older version of the engine let two begin.
    """
    not_first = blocked()
    several = sa.select(deliveries.c.lane).where(not_first.when).distinct()
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(several)).scalars().all()
    for start in range(0, len(found), TOGETHER):
        some = found[start : start + TOGETHER]
        async with database.write_transaction() as transaction:
            await lock_lanes(transaction, database, some)
            await transaction.execute_dml(not_first.update(IN_THESE_LANES), {"lanes": some})
            await transaction.commit()
    await unblock_heads(database)


async def unblock_heads(database: Database) -> None:
    """Unblock the first delivery in each lane where it is still blocked."""
    async with database.read_transaction() as transaction:
        stuck = (await transaction.execute(_STUCK)).scalars().all()
    for lane in await _try_to_unblock(database, stuck):
        unblock_soon(database, lane)


async def _try_to_unblock(database: Database, lanes: Sequence[str]) -> Sequence[str]:
    """Unblock the first of each lane; return the lanes that others have locked."""
    left = list[str]()
    for start in range(0, len(lanes), TOGETHER):
        some = lanes[start : start + TOGETHER]
        async with database.write_transaction() as transaction:
            free = {*await lock_lanes(transaction, database, (), if_free=some)}
            await _unblock_first(transaction, database, free)
            await transaction.commit()
        left += [lane for lane in some if lane not in free]
    return left


async def _unblock_first(
    transaction: Transaction, database: Database, lanes: Iterable[str]
) -> None:
    """Unblock the first of each of these locked lanes, after all their deliveries have places."""
    fronts = [LanePosition(lane, -1, EventId(UUID(int=0)), "") for lane in lanes]
    if fronts and database.backend.lock_lanes is not None:
        await transaction.execute(PLACEMENT, {"lanes": [place.of_lane for place in fronts]})
    await after_end(transaction, database, fronts)
