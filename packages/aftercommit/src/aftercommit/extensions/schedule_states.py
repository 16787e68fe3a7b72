"""What the database knows of schedules, for those who look: commands, the page, and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.schedule_rows import stored_schedules
from aftercommit.deliveries.tables import schedules
from aftercommit.schedules import Every


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleState:
    """A schedule, and what the database knows of it.

    `next_at` is None if no worker has seen it yet. `last_at`, and the `correlation_id` of the trace
    that began then, are None if none of its times has become an event. `missed` times came directly
    before the last one, and became none. `late_seconds` is for how long a time has come that no
    worker has stored.
    """

    name: str
    cron: str
    tz: str
    next_at: datetime | None
    last_at: datetime | None
    missed: int
    correlation_id: UUID | None
    late_seconds: float


async def read_schedules(
    transaction: Transaction, database: Database, every: Sequence[Every[Any]]
) -> list[ScheduleState]:
    """Return the state of these schedules, in their order."""
    rows, now = await stored_schedules(transaction, database)
    return [_state(each, rows.get(each.key), now) for each in every]


def _state(each: Every[Any], row: sa.Row[Any] | None, now: float) -> ScheduleState:
    next_at = each.next_after(row.last_at) if row else None
    has_come = row is not None and row.correlation_id is not None
    return ScheduleState(
        name=each.name,
        cron=each.cron,
        tz=each.tz,
        next_at=next_at,
        last_at=datetime.fromtimestamp(row.last_at, each.zone) if row and has_come else None,
        missed=row.missed if row else 0,
        correlation_id=row.correlation_id if row else None,
        late_seconds=max(0.0, now - next_at.timestamp()) if next_at else 0.0,
    )


async def removed_schedules(
    transaction: Transaction, every: Sequence[Every[Any]]
) -> Sequence[sa.Row[Any]]:
    """Return name and last time of the stored schedules that are not among these."""
    known = [each.key for each in every]
    others = sa.select(schedules.c.name, schedules.c.last_at).where(schedules.c.name.not_in(known))
    return (await transaction.execute(others.order_by(schedules.c.name))).all()
