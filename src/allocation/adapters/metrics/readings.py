"""What only the database knows: what is owed, in which state; and what of its connections is used.

It reads each delivery that is pending or parked, by their partial indexes: what is done costs
nothing, and a backlog of a million costs a second.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import SchemaTooNew
from allocation.adapters.migrations import history
from allocation.adapters.orm import PARKED, PENDING, deliveries, events
from allocation.adapters.outbox import OURS, pending

STATES = ("in_hand", "replay", "due", "waiting", "parked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What is owed: how many deliveries, by handler and state, and how late the latest is.

    Of the handlers that are known, there is a figure for each state, or nobody could tell none from
    unknown.
    """

    owed: Mapping[tuple[str, str], int]
    oldest_due_seconds: float
    oldest_stranger_seconds: float


async def read(database: Database, handlers: Collection[str]) -> Readings:
    """Read what is owed; these handlers are not strangers.

    :raises Unavailable: if the database is not there
    """
    async with database.reading() as session:
        counts = (await session.execute(_owed(database.clock))).all()
        return Readings(
            owed=dict.fromkeys(product(handlers, STATES), 0)
            | {(row.handler, row.state): row.deliveries for row in counts},
            oldest_due_seconds=await _seconds(session, _due_seconds(database.clock), handlers),
            oldest_stranger_seconds=await _seconds(
                session, _stranger_seconds(database.clock), handlers
            ),
        )


async def schema_is_outdated(database: Database) -> bool:
    """Tell whether the database has an older schema than this program needs.

    A newer one does no harm to a process that runs: an upgrade only adds. If it did, all processes
    would be taken out of use by an upgrade, before there is one of the new version.

    :raises Unavailable: if the database is not there
    """
    async with database.reading() as session:
        try:
            return await session.run_sync(history.stored_revision) != history.revisions()[-1]
        except SchemaTooNew:
            return False


async def oldest_due_seconds(database: Database, handlers: Collection[str]) -> float:
    """Return for how long the oldest delivery that these handlers can do has been due.

    What is replayed may wait. What only others know, or can read, is not theirs to be late with.

    :raises Unavailable: if the database is not there
    """
    async with database.reading() as session:
        return await _seconds(session, _due_seconds(database.clock), handlers)


def connections(database: Database) -> tuple[int, int] | None:
    """Return how many connections are in use and how many there may be; None without a pool."""
    pool = database.engine.pool
    return (pool.checkedout(), pool.size()) if isinstance(pool, QueuePool) else None


def _owed(now: sa.ColumnElement[float]) -> sa.CompoundSelect[str, str, int]:
    is_held = sa.and_(deliveries.c.process.is_not(None), deliveries.c.due_at > now)
    state = sa.case(
        (is_held, "in_hand"),
        (deliveries.c.replay, "replay"),
        (deliveries.c.due_at <= now, "due"),
        else_="waiting",
    )
    return sa.union_all(_counted(state, PENDING), _counted(sa.literal("parked"), PARKED))


def _counted(
    state: sa.ColumnElement[str], which: sa.ColumnElement[bool]
) -> sa.Select[str, str, int]:
    found = sa.select(deliveries.c.handler, state.label("state")).where(which).subquery()
    names = found.c.handler, found.c.state
    return sa.select(*names, sa.func.count().label("deliveries")).group_by(*names)


async def _seconds(session: Session, query: sa.Select[Any], handlers: Collection[str]) -> float:
    found = await session.execute(query, {"handlers": list(handlers)})
    return max(0.0, found.scalar() or 0.0)


def _due_seconds(now: sa.ColumnElement[float]) -> sa.Select[Any]:
    since = now - deliveries.c.due_at
    return pending(False, since).where(deliveries.c.due_at <= now).limit(1)


def _stranger_seconds(now: sa.ColumnElement[float]) -> sa.Select[Any]:
    """Look at the oldest of all: what can be done is done, so a stranger soon stands in front."""
    first = (
        sa.select(deliveries.c.due_at, OURS.label("is_ours"))
        .join_from(deliveries, events)
        .where(PENDING, deliveries.c.replay == sa.false(), deliveries.c.due_at <= now)
        .order_by(deliveries.c.due_at)
        .limit(1)
        .subquery()
    )
    return sa.select(now - first.c.due_at).where(~first.c.is_ours)
