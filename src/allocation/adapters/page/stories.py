"""The queries of the page about stories: which are new, which have changed, what each of them is.

A story is all that has one correlation id. Nothing is written down when one changes; but each
change of a delivery moves a count or its fencing token, so sums tell, in one small statement.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.operations.stories import commands_of, events_of
from allocation.adapters.operations.traces import Sought, stories_with
from allocation.adapters.operations.trees import Row, TraceNode, tree
from allocation.adapters.orm import commands, deliveries, events

MAX_ROWS = 5000  # of the stories that are read together

Sums = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A story as a tree: see `trees.tree`. One of several thousand nodes may not be whole."""

    id: UUID
    nodes: Sequence[TraceNode]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """What changes whenever a story does, and whether a delivery of it is owed."""

    sums: Sums
    is_settled: bool


async def begun(session: Session, since: float, limit: int) -> Mapping[UUID, float]:
    """Return the stories of the newest commands since then, and when the last of each came."""
    newest = (
        sa.select(commands.c.correlation_id, commands.c.accepted_at)
        .where(commands.c.accepted_at >= since)
        .order_by(commands.c.accepted_at.desc())
        .limit(limit)
        .subquery()
    )
    latest = sa.func.max(newest.c.accepted_at)
    statement = sa.select(newest.c.correlation_id, latest).group_by(newest.c.correlation_id)
    return {row[0]: row[-1] for row in (await session.execute(statement)).all()}


async def progress(session: Session, ids: Collection[UUID]) -> Mapping[UUID, Progress]:
    """Return how far these stories are; one that has no event is not there."""
    rows = await session.execute(_PROGRESS.where(events.c.correlation_id.in_(ids)))
    return {row[0]: Progress(tuple(row[1:]), row.owed == row.done) for row in rows}


async def stories(database: Database, session: Session, ids: Collection[UUID]) -> list[Story]:
    """Return these stories, in that order: in two statements, or one by one if they are long."""
    accepted = await commands_of(session, ids, limit=MAX_ROWS)
    rows = await events_of(session, database, ids, limit=MAX_ROWS)
    is_whole = max(len(accepted), len(rows)) < MAX_ROWS
    if not is_whole and len(ids) > 1:
        return [story for id_ in ids for story in await stories(database, session, [id_])]
    commands_by, rows_by = _by_story(accepted), _by_story(rows)
    return [Story(id_, tree(commands_by[id_], rows_by[id_]), is_whole) for id_ in ids]


async def sought(database: Database, about: Sought) -> list[Story]:
    """Return the newest stories that something is part of, the newest first."""
    async with database.reading() as session:
        return await stories(database, session, await stories_with(session, about))


def _by_story(rows: Iterable[Row]) -> defaultdict[UUID, list[Row]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.correlation_id].append(row)
    return grouped


_PROGRESS = (
    sa.select(
        events.c.correlation_id,
        sa.func.count(),
        sa.func.sum(deliveries.c.token),
        sa.func.sum(deliveries.c.attempts),
        sa.func.sum(deliveries.c.due_at),
        sa.func.count(deliveries.c.parked_at),
        sa.func.count(deliveries.c.finished_at).label("done"),
        sa.func.count(deliveries.c.handler).label("owed"),
    )
    .select_from(events.outerjoin(deliveries))
    .group_by(events.c.correlation_id)
)
