"""The history of deliveries: how their claims ended, and what operators have decided."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import decisions, deliveries, events, failures
from aftercommit.extensions.operations.causation_tree import HistoryEntry
from aftercommit.extensions.operations.times import Epoch

Histories = Mapping[tuple[UUID, str | None], Sequence[HistoryEntry]]
"""Entries by event and handler, oldest first. Without a handler: those of the event itself."""


async def read_history(
    transaction: Transaction, which: sa.ColumnElement[bool], *, limit: int | None = None
) -> Histories:
    """Return the history of some events and their deliveries, with one statement.

    A decision about a handler belongs to all deliveries that the handler had at that time.
    """
    found = sa.union_all(*(part.where(which) for part in _PARTS)).subquery()
    rows = await transaction.execute(sa.select(found).limit(limit))
    past: defaultdict[tuple[UUID, str | None], list[HistoryEntry]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.recorded_at, row.token is None, row.token)):
        values = row._asdict()
        key = values.pop("event_id"), values.pop("handler")
        past[key].append(HistoryEntry(**values))
    return past


def _time(column: sa.Column[float]) -> sa.Label[Any]:
    return sa.type_coerce(column, Epoch).label("recorded_at")


_DECISION, _NONE = decisions.c, sa.cast(sa.null(), sa.Integer)
_WHAT = (
    *(_DECISION.decision.label("what"), _time(_DECISION.decided_at)),
    *(_DECISION.decided_by.label("by"), _DECISION.reason.label("why")),
    *(_NONE.label("attempt"), _NONE.label("token")),
)
_ENDS = sa.select(
    *(failures.c.event_id, failures.c.handler, failures.c.outcome.label("what")),
    *(_time(failures.c.failed_at), failures.c.owner.label("by"), failures.c.error.label("why")),
    *(failures.c.attempt, failures.c.token),
).join_from(events, failures, failures.c.event_id == events.c.id)
_OF_AN_EVENT = sa.select(_DECISION.event_id, _DECISION.handler, *_WHAT).join_from(events, decisions)
_WHILE_IT_HAD_IT = sa.and_(
    *(_DECISION.event_id.is_(None), _DECISION.handler == deliveries.c.handler),
    _DECISION.decided_at >= events.c.recorded_at,
    _DECISION.decided_at <= sa.func.coalesce(deliveries.c.completed_at, _DECISION.decided_at),
    sa.or_(_DECISION.decision != "replay", deliveries.c.replay),
)
_OF_A_HANDLER = sa.select(deliveries.c.event_id, deliveries.c.handler, *_WHAT).select_from(
    events.join(deliveries).join(decisions, _WHILE_IT_HAD_IT)
)
_PARTS = (_ENDS, _OF_AN_EVENT, _OF_A_HANDLER)
