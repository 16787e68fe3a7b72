"""Schedules as operators see them, and what becomes of one that a release has removed."""

from datetime import datetime

import sqlalchemy as sa

from aftercommit.deliveries.tables import schedules
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.exceptions import ScheduleNotRemoved
from aftercommit.extensions.schedule_states import ScheduleState, removed_schedules
from aftercommit.process.application import Application

NOT_BEGUN = "has not begun: it begins when a worker first runs; serve alone is no worker"
LATE_SECONDS = 60.0  # a worker needs a moment


def in_words(state: ScheduleState) -> str:
    """Return when the schedule comes next, when it came last, and how many times were missed."""
    if state.next_at is None:
        return NOT_BEGUN
    late = f", late for {state.late_seconds:.0f} s" if state.late_seconds > LATE_SECONDS else ""
    last = f"last {_minute(state.last_at)}" if state.last_at else "none has come yet"
    missed = f" ({state.missed} missed before it)" if state.missed else ""
    return f"next {_minute(state.next_at)}{late}, {last}{missed}"


def _minute(at: datetime) -> str:
    return f"{at:%FT%H:%M%z}"


async def forget(application: Application, name: str, decision: Decision) -> None:
    """Delete what is stored of a schedule that the program no longer has.

    :raises ScheduleNotRemoved: if there is nothing to forget, or the program has it
    """
    database = application.database
    async with database.write_transaction() as transaction:
        removed = [row.name for row in await removed_schedules(transaction, application.every)]
        if name not in removed:
            raise ScheduleNotRemoved(name, removed)
        await transaction.execute_dml(sa.delete(schedules).where(schedules.c.name == name))
        reason = f"{name}: {decision.reason}" if decision.reason else name
        explained = Decision(by=decision.by, reason=reason[:500])
        await explained.store(transaction, database, "forget")
        await transaction.commit()
