"""What operators decide about deliveries, handlers and the past: who, when and why.

A decision is stored in the same transaction as its change. It is pruned with its event; a decision
without an event is pruned by its own age (`retention.py`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.ends import CLAIM_COLUMNS, REASONS
from aftercommit.deliveries.lanes import LanePosition, lock_lanes
from aftercommit.deliveries.lock_order import in_order
from aftercommit.deliveries.pauses import PAUSED_HANDLERS
from aftercommit.deliveries.states import revoked
from aftercommit.deliveries.tables import IN_LANE, decisions, deliveries, failures, handler_pauses
from aftercommit.envelopes import EventId
from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations.times import in_utc

LONGEST = {"by": 200, "reason": 500}
"""In characters: lists show both, and who has paused a handler is a label in metrics."""
What = Literal["retry", "discard", "replay", "pause", "resume", "erase", "prune"]
Stored = What | Literal["limit", "forget", "show"]  # these are about no delivery, and in no history
About = tuple[EventId | None, str | None]
"""An event, a handler, or both, that is, a delivery."""
# to resume a handler means its deliveries after its pause
_PAUSES = PAUSED_HANDLERS.order_by(handler_pauses.c.handler).with_for_update(
    read=True, key_share=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Who decides something, and why.

    :raises InvalidValue: if one of the two is longer than `LONGEST`
    """

    by: str
    reason: str | None = None

    def __post_init__(self) -> None:
        for (
            name,
            most,
        ) in LONGEST.items():  # in a form that every database can store
            if text := getattr(self, name):
                if len(text) > most:
                    problem = f"has {len(text)} characters; at most {most} are allowed"
                    raise InvalidValue(f"the {name} of a decision", problem)
                # as every database can store it: nobody's name holds it up
                clean = text.encode(errors="replace").decode().replace("\0", "?")
                object.__setattr__(self, name, clean)

    async def store(
        self,
        transaction: Transaction,
        database: Database,
        what: Stored,
        about: Iterable[About] = ((None, None),),
    ) -> None:
        """Store the decision about each of these, with one time, in the caller's transaction."""
        now = (await transaction.execute(sa.select(database.clock))).scalar_one()
        own = {"decided_at": now, "decision": what, "decided_by": self.by, "reason": self.reason}
        new_id = transaction.new_id
        rows = [{"id": new_id(), "event_id": of, "handler": name, **own} for of, name in about]
        if rows:
            await transaction.execute(sa.insert(decisions), rows)


async def revoke_claims(
    transaction: Transaction, database: Database, *which: sa.ColumnElement[bool]
) -> Sequence[LanePosition]:
    """Lock these deliveries, and record that processes lose those they run, or ran last.

    All are locked, even those that nobody runs, because they might be claimed otherwise. Return the
    lanes and positions of the outstanding ones.
    """
    places = await lock_deliveries(transaction, database, *which)
    row, now = deliveries.c, database.clock
    is_over = row.available_at <= now
    columns = {
        **{column.name: column for column in CLAIM_COLUMNS},
        **{"attempt": row.attempts, "owner": row.owner, "failed_at": now},
        "outcome": sa.case((is_over, "lease_expired"), else_="superseded"),
        "error": sa.case((is_over, REASONS["lease_expired"]), else_=REASONS["superseded"]),
    }
    running = sa.select(*columns.values()).where(*which, revoked(now).when)
    await transaction.execute(sa.insert(failures).from_select([*columns], running))
    return places


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDecision:
    """A stored decision; to prune, or about a limit, it has neither event nor handler.

    One about many events has their number in `events`, and no `event_id`.
    """

    decided_at: datetime
    decision: Stored
    decided_by: str
    reason: str | None
    event_id: UUID | None
    events: int
    handler: str | None


async def latest_decisions(
    database: Database, *, limit: int, older_than: float = 0, **wanted: str | None
) -> Sequence[StoredDecision]:
    """Return the latest decisions, newest first; one about many events of a handler is one.

    Those of the last `older_than` seconds are left out, and so are those that are not `wanted`: the
    names and values of columns, of which None is any.
    """
    row, is_one = decisions.c, sa.func.count() == 1
    what = (row.decided_at, row.decision, row.decided_by, row.reason, row.handler)
    one = sa.case((is_one, sa.func.min(sa.cast(row.event_id, sa.String)))).label("event_id")
    columns = in_utc(row.decided_at), *what[1:], one, sa.func.count(row.event_id).label("events")
    found: sa.Select[Any] = sa.select(*columns).group_by(*what).order_by(row.decided_at.desc())
    is_old = row.decided_at <= database.clock - older_than
    is_wanted = (row[name] == value for name, value in wanted.items() if value is not None)
    async with database.read_transaction() as transaction:
        rows = await transaction.execute(found.where(is_old, *is_wanted).limit(limit))
        return [
            StoredDecision(**{**each._asdict(), "event_id": each.event_id and UUID(each.event_id)})
            for each in rows
        ]


async def lock_lanes_and_pauses(
    transaction: Transaction, database: Database, *which: sa.ColumnElement[bool]
) -> Sequence[LanePosition]:
    """Lock what has to be locked before these deliveries; return positions of those in lanes."""
    places = await _lock_lanes(transaction, database, *which)
    await transaction.execute(_PAUSES)
    return places


async def lock_deliveries(
    transaction: Transaction, database: Database, *which: sa.ColumnElement[bool]
) -> Sequence[LanePosition]:
    """Wait for all who change or claim these deliveries; then make them wait for this commit.

    Return the lanes and positions of the outstanding ones.
    """
    places = await lock_lanes_and_pauses(transaction, database, *which)
    await transaction.execute(in_order(*which))
    return places


async def _lock_lanes(
    transaction: Transaction, database: Database, *which: sa.ColumnElement[bool]
) -> Sequence[LanePosition]:
    """Lock the lanes of rows that are about to end; return the positions of these rows."""
    row = deliveries.c
    places = sa.select(row.lane, row.position, row.event_id, row.handler).where(IN_LANE, *which)
    found = (await transaction.execute(places)).all()
    await lock_lanes(transaction, database, [each.lane for each in found])
    return [LanePosition._make(each) for each in found]
