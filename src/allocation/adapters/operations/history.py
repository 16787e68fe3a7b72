"""The latest commands, and what has become of all that they caused."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.operations.decisions import DISCARDED
from allocation.adapters.operations.moments import moment
from allocation.adapters.operations.stories import events_of
from allocation.adapters.operations.summaries import summary
from allocation.adapters.operations.trees import Row, State, state_of
from allocation.adapters.orm import PARKED, PENDING, commands, deliveries, events


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """A command, and how many of the deliveries that it led to are in which state.

    `done` counts what was `discarded`, too, and `waiting` what is in hand. `seconds`: from the
    command to the last delivery that was settled, replays left out; None while one waits, or if
    there is none.
    """

    id: UUID
    type: str
    source: str
    correlation_id: UUID
    accepted_at: datetime
    about: str  # a few words about its first event
    done: int
    discarded: int
    waiting: int
    parked: int
    seconds: float | None


async def history(
    database: Database, *, limit: int, failed_only: bool = False
) -> Sequence[HistoryRow]:
    """Return the latest commands, the newest first, in two statements.

    Those that failed have a delivery that is parked, or has failed or lost its lease and waits.
    """
    statement = _failed(database) if failed_only else _LATEST
    async with database.reading() as session:
        accepted = (await session.execute(statement.limit(limit))).all()
        ids = {command.correlation_id for command in accepted}
        return summed_up(accepted, await events_of(session, database, ids))


def summed_up(accepted: Iterable[Row], rows: Sequence[Row]) -> list[HistoryRow]:
    """Return a row for each command; a delivery belongs to the first cause of its event."""
    caused: defaultdict[UUID, list[Row]] = defaultdict(list)
    causes = {row.id: row.causation_id for row in rows}
    for row in rows:
        caused[_first_cause(row.id, causes)].append(row)
    return [_row(command, caused[command.id]) for command in accepted]


def _first_cause(message_id: UUID, causes: Mapping[UUID, UUID]) -> UUID:
    seen = set()  # in case somebody has stored a circle
    while message_id in causes and message_id not in seen:
        seen.add(message_id)
        message_id = causes[message_id]
    return message_id


def _row(command: Row, rows: Sequence[Row]) -> HistoryRow:
    owed = {(row.id, row.handler): row for row in rows if row.handler is not None}.values()
    counts: Counter[State] = Counter(map(state_of, owed))
    waiting = counts["waiting"] + counts["leased"]
    settled = [row.finished_at or row.parked_at for row in owed if not row.replay]
    return HistoryRow(
        id=command.id,
        type=command.type,
        source=command.source,
        correlation_id=command.correlation_id,
        accepted_at=moment(command.accepted_at),
        about=_about(rows[0]) if rows else "",
        done=counts["done"],
        discarded=[row.last_error for row in owed if row.finished_at].count(DISCARDED),
        waiting=waiting,
        parked=counts["parked"],
        seconds=max(settled) - command.accepted_at if settled and not waiting else None,
    )


def _about(event: Row) -> str:
    return summary(event.type, event.schema_version, event.data) or str(event.subject)


def _failed(database: Database) -> sa.Select[Any]:
    """Return the commands with trouble: from what is not finished, back to the first cause."""
    lost = sa.and_(deliveries.c.process.is_not(None), deliveries.c.due_at <= database.clock)
    has_failed = deliveries.c.last_error.is_not(None) | deliveries.c.lost_by.is_not(None) | lost
    causes_of = sa.select(events.c.causation_id).join(deliveries)
    # apart, for each has an index of its own; in a subquery, for SQLite nests no unions
    trouble = sa.union(causes_of.where(PARKED), causes_of.where(PENDING, has_failed)).subquery()
    causes = sa.select(trouble.c.causation_id).cte("causes", recursive=True)
    earlier = sa.select(events.c.causation_id).join(causes, events.c.id == causes.c.causation_id)
    first = causes.union(earlier)
    found = sa.select(commands).join(first, commands.c.id == first.c.causation_id)
    return found.order_by(-commands.c.accepted_at)  # by its index, all commands would be read


_LATEST = sa.select(commands).order_by(commands.c.accepted_at.desc())
