"""The queries of the page about what is outstanding: how much of it, by handler, and the first."""

from typing import Any

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.delivery_states import delivery_state
from allocation.adapters.orm import PARKED, PENDING, deliveries
from allocation.adapters.transaction import Transaction
from allocation.extensions.operations.delivery_admin import (
    Which,
    is_for_later,
    listed_deliveries,
    paused_handlers,
)

MAX_COUNTED = 10_000  # of what is pending, and of what is parked
MAX_SHOWN = 100  # of each as well


async def clock(transaction: Transaction, database: Database) -> float:
    """Return the time by the clock of the database, with which all deadlines are compared."""
    return float((await transaction.execute(sa.select(database.clock))).scalar_one())


async def backlog(transaction: Transaction, database: Database) -> dict[str, Any]:
    """Return how much is outstanding, by handler and state, up to MAX_COUNTED, and the first of it.

    And which handlers are paused. What is for `later`, and was not attempted yet, is apart: each
    user leaves some of it for weeks.
    """
    later = is_for_later(database.clock)
    state = delivery_state(database.clock).label("state"), later.label("later")
    limited = (
        sa.select(deliveries.c.handler, *state).where(which).limit(MAX_COUNTED).subquery()
        for which in (sa.and_(PENDING, ~later), sa.and_(PENDING, later), PARKED)
    )
    found = sa.union_all(*map(sa.select, limited)).subquery()
    key = (found.c.handler, found.c.state, found.c.later)
    counted = sa.select(*key, sa.func.count().label("count")).group_by(*key).order_by(*key)
    counts = [row._asdict() for row in await transaction.execute(counted)]
    parts: tuple[Which, ...] = ("parked", "pending", "scheduled")
    first = [
        row
        for part in parts
        async for row in listed_deliveries(transaction, database.clock, part, limit=MAX_SHOWN)
    ]
    return {"counts": counts, "first": first, "pauses": await paused_handlers(transaction)}
