"""The queries of the page: which traces are new or have changed, their content, the backlog.

A trace is everything with one correlation id. No change of it is stored; but each change of a
delivery changes a count, a time or its fencing token, so that sums of these show it, in one small
statement.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.states import delivery_state, is_scheduled
from aftercommit.deliveries.tables import BLOCKED, CLAIMABLE, PARKED, commands, deliveries, events
from aftercommit.extensions.operations.causation_tree import Node
from aftercommit.extensions.operations.delivery_admin import Which, listed_deliveries
from aftercommit.extensions.operations.handler_pauses import paused_handlers
from aftercommit.extensions.operations.limit_admin import held_by
from aftercommit.extensions.operations.schedule_admin import LATE_SECONDS
from aftercommit.extensions.operations.trace_queries import (
    MAX_ROWS,
    Traces,
    begins_trace,
    newest_events,
    read_traces,
)
from aftercommit.extensions.operations.unknown_names import unknown_handlers
from aftercommit.extensions.schedule_states import read_schedules
from aftercommit.limits import Limits
from aftercommit.schedules import Every

MAX_COUNTED = 10_000  # of pending deliveries, and of parked ones
MAX_SHOWN = 100  # of each as well
EVENTS = 5  # that are looked at, for each trace: most have a few more than the first
TRACE_ROWS = 1000  # of a trace: far more than is sent of it, and read at once

Fingerprint = sa.Row[Any]
"""Sums that change whenever a trace does."""


def is_settled(fingerprint: Fingerprint | None) -> bool:
    """Tell whether nothing of a trace is outstanding, except delayed deliveries."""
    return bool(fingerprint and fingerprint.deliveries == fingerprint.done + fingerprint.later)


async def recent(transaction: Transaction, since: float, limit: int) -> Mapping[UUID, float]:
    """Return the traces of the newest commands since then, and when the last of each arrived.

    A trace that an outbox has begun has no command: it began with the event that was recorded,
    if that is among the newest EVENTS times `limit` events.
    """
    newest = (
        sa.select(commands.c.correlation_id, commands.c.accepted_at)
        .where(commands.c.accepted_at >= since)
        .order_by(commands.c.accepted_at.desc())
        .limit(limit)
        .subquery()
    )
    event = newest_events(EVENTS * limit, since=since)
    begun = sa.select(event.c.correlation_id, event.c.recorded_at).where(begins_trace(event))
    begun = begun.order_by(event.c.recorded_at.desc()).limit(limit)
    found = sa.union_all(sa.select(newest), sa.select(begun.subquery())).subquery()
    latest = sa.func.max(found.c.accepted_at)
    statement = sa.select(found.c.correlation_id, latest).group_by(found.c.correlation_id)
    return {row[0]: row[-1] for row in (await transaction.execute(statement)).all()}


async def fingerprints(
    transaction: Transaction, database: Database, ids: Collection[UUID]
) -> Mapping[UUID, Fingerprint]:
    """Return the fingerprints of these traces; a trace without events has none."""
    wanted = events.c.correlation_id.in_(ids)
    rows = await transaction.execute(_sums(database.clock).where(wanted))
    return {row[0]: row for row in rows}


async def fingerprint_of_beginning(
    transaction: Transaction, database: Database, id_: UUID
) -> Fingerprint | None:
    """Return the fingerprint of the first TRACE_ROWS events of a long trace; no more are shown."""
    first = sa.select(events.c.id).where(events.c.correlation_id == id_).limit(TRACE_ROWS)
    these = events.c.id.in_(sa.select(first.subquery()))
    return (await transaction.execute(_sums(database.clock).where(these))).one_or_none()


async def traces(
    transaction: Transaction, database: Database, ids: Collection[UUID]
) -> Mapping[UUID, Traces]:
    """Return these traces; long ones are read one by one."""
    limit = min(len(ids) * TRACE_ROWS, MAX_ROWS)
    found = await read_traces(transaction, database, ids, limit=limit)
    if len(ids) > 1 and not found.is_whole:
        return {id_: (await traces(transaction, database, [id_]))[id_] for id_ in ids}
    nodes: defaultdict[UUID, list[Node]] = defaultdict(list)
    for node in found.nodes:
        nodes[node.correlation_id].append(node)
    return {id_: found._replace(nodes=nodes[id_]) for id_ in ids}


async def backlog(
    transaction: Transaction,
    database: Database,
    known: Collection[str],
    limits: Limits,
    every: Sequence[Every[Any]],
) -> dict[str, Any]:
    """Return how much is outstanding by handler and state, up to MAX_COUNTED, and the first of it.

    Also return the paused handlers, those not `known` to this program, and the schedules. Delayed
    deliveries before their first attempt, `later`, are separate: there may be many, for weeks.
    """
    later = is_scheduled(database.clock)
    state = delivery_state(database.clock).label("state"), later.label("later")
    limited = (
        sa.select(deliveries.c.handler, *state).where(which).limit(MAX_COUNTED).subquery()
        for which in (sa.and_(CLAIMABLE, ~later), sa.and_(CLAIMABLE, later), BLOCKED, PARKED)
    )
    found = sa.union_all(*map(sa.select, limited)).subquery()
    key = (found.c.handler, found.c.state, found.c.later)
    counted = sa.select(*key, sa.func.count().label("count")).group_by(*key).order_by(*key)
    counts = [row._asdict() for row in await transaction.execute(counted)]
    unknown = any(row["handler"] not in known for row in counts)  # this reads all that are pending
    strange = (await transaction.execute(unknown_handlers(known))).all() if unknown else ()
    held = await held_by(transaction, database, limits)
    parts: tuple[Which, ...] = ("parked", "pending", "blocked", "scheduled")
    first = [
        row
        for part in parts
        async for row in listed_deliveries(transaction, database, part, limit=MAX_SHOWN, held=held)
    ]
    return {
        **{"counts": counts, "first": first, "pauses": await paused_handlers(transaction)},
        "unknown": [row._asdict() for row in strange],
        "schedules": await _schedules(transaction, database, every),
    }


async def _schedules(
    transaction: Transaction, database: Database, every: Sequence[Every[Any]]
) -> list[dict[str, Any]]:
    """Return what changes only when a time has come, or begins to be late."""
    found = [*map(asdict, await read_schedules(transaction, database, every))] if every else []
    return [{"is_late": each.pop("late_seconds") > LATE_SECONDS} | each for each in found]


@cache
def _sums(clock: sa.ColumnElement[float]) -> sa.Select[Any]:
    sums = sa.select(
        events.c.correlation_id,
        sa.func.count().label("rows"),
        sa.func.sum(deliveries.c.token),
        sa.func.sum(deliveries.c.attempts),
        sa.func.sum(deliveries.c.available_at),
        sa.func.count(deliveries.c.parked_at),
        sa.func.count(deliveries.c.completed_at).label("done"),
        sa.func.count(deliveries.c.handler).filter(is_scheduled(clock)).label("later"),
        sa.func.count(deliveries.c.handler).label("deliveries"),
        sa.func.count(deliveries.c.handler).filter(deliveries.c.blocked),
    )
    return sums.select_from(events.outerjoin(deliveries)).group_by(events.c.correlation_id)
