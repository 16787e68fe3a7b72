"""The past of deliveries: how their claims ended, and what people have decided meanwhile."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from aftercommit.extensions.operations.causation_tree import HistoryEntry
from aftercommit.extensions.operations.times import Epoch
from aftercommit.sql.tables import decisions, deliveries, events, failures
from aftercommit.sql.transaction import Transaction

Histories = Mapping[tuple[UUID, str], Sequence[HistoryEntry]]
"""By event and handler; the oldest first."""


async def read_history(
    transaction: Transaction, which: sa.ColumnElement[bool], *, limit: int | None = None
) -> Histories:
    """Return the past of the deliveries of some events, with one statement.

    A decision about a handler belongs to the deliveries that it had then.
    """
    found = sa.union_all(*(part.where(which) for part in _PARTS)).subquery()
    rows = await transaction.execute(sa.select(found).limit(limit))
    past: defaultdict[tuple[UUID, str], list[HistoryEntry]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.recorded_at, row.token is None, row.token)):
        values = row._asdict()
        key = values.pop("event_id"), values.pop("handler")
        past[key].append(HistoryEntry(**values))
    return past


def _time(column: sa.Column[float]) -> sa.Label[Any]:
    return sa.type_coerce(column, Epoch).label("recorded_at")


_ROW, _DECISION = deliveries.c, decisions.c
_ENDS = sa.select(
    *(failures.c.event_id, failures.c.handler, failures.c.outcome.label("what")),
    *(_time(failures.c.failed_at), failures.c.owner.label("by"), failures.c.error.label("why")),
    *(failures.c.attempt, failures.c.token),
).join_from(events, failures, failures.c.event_id == events.c.id)
_NONE = sa.cast(sa.null(), sa.Integer)
_DECISIONS = sa.select(
    *(_ROW.event_id, _ROW.handler, _DECISION.decision.label("what")),
    *(_time(_DECISION.decided_at), _DECISION.decided_by.label("by"), _DECISION.reason.label("why")),
    *(_NONE.label("attempt"), _NONE.label("token")),
)
_OF_ITS_EVENT = sa.and_(
    _DECISION.event_id == _ROW.event_id,
    sa.or_(_DECISION.handler == _ROW.handler, _DECISION.handler.is_(None)),
)
_OF_ITS_HANDLER = sa.and_(
    *(_DECISION.event_id.is_(None), _DECISION.handler == _ROW.handler),
    _DECISION.decided_at >= events.c.recorded_at,
    sa.or_(_ROW.completed_at.is_(None), _DECISION.decided_at <= _ROW.completed_at),
    sa.or_(_DECISION.decision != "replay", _ROW.replay),
)
_WITH_DELIVERIES = events.join(deliveries)
_PARTS = [
    _ENDS,
    *(
        _DECISIONS.select_from(_WITH_DELIVERIES.join(decisions, each))
        for each in (_OF_ITS_EVENT, _OF_ITS_HANDLER)
    ),
]
