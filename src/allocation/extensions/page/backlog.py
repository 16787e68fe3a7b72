"""The queries of the page about what is outstanding: how much of it, by handler, and the first."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.delivery_states import DUE_AT, delivery_state
from allocation.adapters.orm import PARKED, PENDING, deliveries, events, handler_pauses
from allocation.adapters.transaction import Transaction
from allocation.extensions.operations.delivery_admin import in_order, is_for_later, with_summary

MAX_COUNTED = 10_000  # of what is pending, and of what is parked
MAX_SHOWN = 100  # of each as well


async def clock(transaction: Transaction, database: Database) -> float:
    """Return the time by the clock of the database, with which all deadlines are compared."""
    return float((await transaction.execute(sa.select(database.clock))).scalar_one())


async def backlog(transaction: Transaction, database: Database) -> dict[str, Any]:
    """Return how much is outstanding, by handler and state, up to MAX_COUNTED, and the first of it.

    And which handlers are paused.

    First what is parked, the longest first; then what is pending, in the order of claims. What is
    for `later`, and was not attempted yet, is apart: each user leaves some of it for weeks.
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
    rows = await transaction.execute(counted)
    pauses = await transaction.execute(sa.select(handler_pauses).order_by(handler_pauses.c.handler))
    return {
        "counts": [row._asdict() for row in rows],
        "first": await _first(transaction, later, state),
        "pauses": [row._asdict() for row in pauses],
    }


async def _first(
    transaction: Transaction, later: sa.ColumnElement[bool], state: Sequence[sa.Label[Any]]
) -> list[dict[str, Any]]:
    pending, parked = in_order(sa.select(*_COLUMNS, *state).join_from(deliveries, events))
    return [
        with_summary(row)
        for statement in (parked, pending.where(~later), pending.where(later))
        for row in await transaction.execute(statement.limit(MAX_SHOWN))
    ]


_COLUMNS = (
    *(deliveries.c[n] for n in ("event_id", "handler", "attempts", "owner")),
    *(DUE_AT.label("available_at"), deliveries.c.parked_at),  # seconds since 1970
    deliveries.c.last_error.label("error"),
    events.c.type.label("event_type"),
    events.c.correlation_id.label("trace"),
    events.c.schema_version,
    events.c.data,
)
