"""The queries of the page about traces: which are new, which have changed, what is in each of them.

A trace is all that has one correlation id. Nothing is stored when one changes; but each change of
a delivery changes a count, a time or its fencing token, so sums show it, in one small statement.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.delivery_states import is_scheduled
from allocation.adapters.orm import commands, deliveries, events
from allocation.adapters.transaction import Transaction
from allocation.extensions.operations.causation_queries import Traces, read_traces
from allocation.extensions.operations.causation_tree import Node

Fingerprint = sa.Row[Any]
"""What changes whenever a trace does."""


def is_settled(fingerprint: Fingerprint | None) -> bool:
    """Tell whether nothing of a trace is outstanding, except what is for later."""
    return bool(fingerprint and fingerprint.deliveries == fingerprint.done + fingerprint.later)


async def recent(transaction: Transaction, since: float, limit: int) -> Mapping[UUID, float]:
    """Return the traces of the newest commands since then, and when the last of each came."""
    newest = (
        sa.select(commands.c.correlation_id, commands.c.accepted_at)
        .where(commands.c.accepted_at >= since)
        .order_by(commands.c.accepted_at.desc())
        .limit(limit)
        .subquery()
    )
    latest = sa.func.max(newest.c.accepted_at)
    statement = sa.select(newest.c.correlation_id, latest).group_by(newest.c.correlation_id)
    return {row[0]: row[-1] for row in (await transaction.execute(statement)).all()}


async def fingerprints(
    transaction: Transaction, database: Database, ids: Collection[UUID]
) -> Mapping[UUID, Fingerprint]:
    """Return the fingerprints of these traces; one that has no event has none."""
    wanted = events.c.correlation_id.in_(ids)
    rows = await transaction.execute(_sums(database.clock).where(wanted))
    return {row[0]: row for row in rows}


async def traces(
    transaction: Transaction, database: Database, ids: Collection[UUID]
) -> Mapping[UUID, Traces]:
    """Return each of these traces; they are read one by one if they are long."""
    found = await read_traces(transaction, database, ids)
    if len(ids) > 1 and not found.is_whole:
        return {id_: await read_traces(transaction, database, [id_]) for id_ in ids}
    nodes: defaultdict[UUID, list[Node]] = defaultdict(list)
    for node in found.nodes:
        nodes[node.correlation_id].append(node)
    return {id_: found._replace(nodes=nodes[id_]) for id_ in ids}


@cache
def _sums(clock: sa.ColumnElement[float]) -> sa.Select[Any]:
    sums = sa.select(
        events.c.correlation_id,
        sa.func.count(),
        sa.func.sum(deliveries.c.token),
        sa.func.sum(deliveries.c.attempts),
        sa.func.sum(deliveries.c.available_at),
        sa.func.count(deliveries.c.parked_at),
        sa.func.count(deliveries.c.completed_at).label("done"),
        sa.func.count(deliveries.c.handler).filter(is_scheduled(clock)).label("later"),
        sa.func.count(deliveries.c.handler).label("deliveries"),
    )
    return sums.select_from(events.outerjoin(deliveries)).group_by(events.c.correlation_id)
