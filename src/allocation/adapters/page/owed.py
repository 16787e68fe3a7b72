"""The queries of the page about what is owed: how much of it, by handler, and the first of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.orm import PARKED, PENDING, deliveries, events

MAX_COUNTED = 10_000  # of what is tried, and of what is parked
MAX_SHOWN = 100  # of each as well


@dataclass(frozen=True, slots=True)
class Count:
    """How many deliveries of a handler are in a state: due, waiting, leased or parked."""

    handler: str
    state: str
    count: int


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery that is owed. Times are seconds since 1970, by the database's clock."""

    event_id: UUID
    event_type: str
    story: UUID
    handler: str
    state: str
    attempts: int
    token: int
    process: str | None
    due_at: float
    parked_at: float | None
    error: str | None


async def clock(session: Session, database: Database) -> float:
    """Return the time by the clock of the database, which all that is owed is measured with."""
    return float((await session.execute(sa.select(database.clock))).scalar_one())


async def counts(session: Session, database: Database) -> Sequence[Count]:
    """Count what is owed, by handler and state, up to MAX_COUNTED."""
    columns = (deliveries.c.handler, _state(database).label("state"))
    limited = (
        sa.select(*columns).where(which).limit(MAX_COUNTED).subquery()
        for which in (PENDING, PARKED)  # each has an index of its own
    )
    found = sa.union_all(*map(sa.select, limited)).subquery()
    key = (found.c.handler, found.c.state)
    rows = await session.execute(sa.select(*key, sa.func.count()).group_by(*key).order_by(*key))
    return [Count(*tuple(row)) for row in rows.all()]


async def first(session: Session, database: Database) -> Sequence[Owed]:
    """Return what is parked, the longest first, and what is tried, in the order of claims."""
    columns = (
        events.c.id,
        events.c.type,
        events.c.correlation_id,
        deliveries.c.handler,
        _state(database).label("state"),
        *(deliveries.c[name] for name in _NAMES),
    )
    owed = sa.select(*columns).join_from(deliveries, events).limit(MAX_SHOWN)
    parked = owed.where(PARKED).order_by(deliveries.c.parked_at).subquery()
    pending = owed.where(PENDING).order_by(deliveries.c.replay, deliveries.c.due_at).subquery()
    rows = await session.execute(sa.union_all(sa.select(parked), sa.select(pending)))
    return [Owed(*tuple(row)) for row in rows.all()]


_NAMES = ("attempts", "token", "process", "due_at", "parked_at", "last_error")


def _state(database: Database) -> sa.Case[Any]:
    return sa.case(
        (PARKED, "parked"),
        (deliveries.c.due_at <= database.clock, "due"),
        (deliveries.c.process.is_not(None), "leased"),
        else_="waiting",
    )
