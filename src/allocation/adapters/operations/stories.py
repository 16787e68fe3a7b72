"""What is stored of a story: all that has one correlation id.

Events, deliveries and failures come with one statement, for PostgreSQL shows each statement what
is committed by then: what a delivery has caused would be missing beside the delivery that is done.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import StatementRefused
from allocation.adapters.orm import commands, deliveries, events, failures

_ALL_JOINED = events.outerjoin(deliveries).outerjoin(
    failures,
    sa.and_(
        failures.c.event_id == deliveries.c.event_id, failures.c.handler == deliveries.c.handler
    ),
)
_EVENTS = (
    "id",
    "type",
    "schema_version",
    "subject",
    "correlation_id",
    "causation_id",
    "recorded_at",
)
_DELIVERIES = (
    "handler",
    "attempts",
    "token",
    "process",
    "due_at",
    "parked_at",
    "finished_at",
    "seconds",
)
_COLUMNS = (
    *(events.c[name] for name in _EVENTS),
    events.c.handler.label("committed_by"),
    *(deliveries.c[name] for name in _DELIVERIES),
    deliveries.c.replay,
    deliveries.c.last_error,
    failures.c.attempt,
    failures.c.failed_at,
    failures.c.process.label("failed_in"),
    failures.c.error,
)


async def commands_of(
    session: Session, correlation_ids: Collection[UUID], *, limit: int | None = None
) -> Sequence[sa.Row[Any]]:
    """Return the commands of these stories."""
    statement = sa.select(commands).where(commands.c.correlation_id.in_(correlation_ids))
    return (await session.execute(statement.limit(limit))).all()


async def events_of(
    session: Session,
    database: Database,
    correlation_ids: Collection[UUID],
    *,
    limit: int | None = None,
) -> Sequence[sa.Row[Any]]:
    """Return the events of these stories in order, a row for each failure of each delivery.

    What no delivery or failure belongs to has None there. If the data of one event cannot even be
    fetched, those of all are None.
    """
    due_in = (deliveries.c.due_at - database.clock).label("due_in")
    statement = (
        sa.select(*_COLUMNS, due_in)
        .select_from(_ALL_JOINED)
        .where(events.c.correlation_id.in_(correlation_ids))
        .order_by(events.c.recorded_at, events.c.id, deliveries.c.handler, failures.c.token)
        .limit(limit)
    )
    try:
        return (await session.execute(statement.add_columns(events.c.data))).all()
    except StatementRefused:  # SQLite takes what is no UTF-8, and does not give it back
        return (await session.execute(statement.add_columns(sa.null().label("data")))).all()
