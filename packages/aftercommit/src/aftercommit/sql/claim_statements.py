"""The statements behind a claim: what is pending, what of it can be done here, and its events."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import DeliveryPolicy
from aftercommit.codec import MAX_EVENT_LENGTH, Codec
from aftercommit.errors import InvalidPayload
from aftercommit.sql import failure_history
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED
from aftercommit.sql.tables import CLAIMABLE, deliveries, events

LAST_ATTEMPT_UNFINISHED = "the last attempt did not finish"
TOO_LONG = failure_history.describe(
    InvalidPayload("an event", f"is longer than {MAX_EVENT_LENGTH}")
)

NEXT_TOKEN = deliveries.c.token + 1
HANDLERS: sa.BindParameter[str] = sa.bindparam("handlers", expanding=True)

# as text: a value that the driver cannot read would fail the claim of all that is due, each time
_RAW = [sa.cast(column, sa.Text).label(column.name) for column in events.c if column.name != "id"]
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
RAW_EVENTS = sa.select(events.c.id, *_RAW).where(events.c.id.in_(_IDS))


def claimable_here(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """What this process can do: other types, and later versions, are for newer processes."""
    row, versions = events.c, codec.versions.items()
    known = [sa.and_(row.type == name, row.schema_version <= v) for name, v in versions]
    return sa.and_(deliveries.c.handler.in_(HANDLERS), ~PAUSED, sa.or_(sa.false(), *known))


def pending(codec: Codec[object], replay: bool, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """What is pending for `HANDLERS` and can be tried here, the longest due first."""
    wanted = CLAIMABLE, deliveries.c.replay == replay, claimable_here(codec)
    return sa.select(*columns).join(events).where(*wanted).order_by(deliveries.c.available_at)


def claim_statement(
    replay: bool, database: Database, policy: DeliveryPolicy
) -> ReturningUpdate[Any]:
    """Return the statement that takes the leases of what is due.

    It parks what can never be handled: that would be the longest due in each later claim.
    """
    columns, now = deliveries.c, database.clock
    problem = sa.case(
        (columns.attempts >= policy.max_attempts, LAST_ATTEMPT_UNFINISHED),
        (sa.func.length(events.c.data) > MAX_EVENT_LENGTH, TOO_LONG),
    )
    # in a CTE: as a subquery, the limit may be applied again for each row of the outer table;
    # the limit is a literal, or PostgreSQL would not keep a plan for so few rows
    due = (
        pending(database.codec, replay, columns.event_id, columns.handler, problem.label("problem"))
        .where(columns.available_at <= now)
        .limit(sa.bindparam("limit", type_=sa.Integer, literal_execute=True))
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("due")
    )
    is_fine = due.c.problem.is_(None)
    return (
        sa.update(deliveries)
        .where(columns.event_id == due.c.event_id, columns.handler == due.c.handler)
        .values(
            attempts=columns.attempts + sa.case((is_fine, 1), else_=0),
            token=NEXT_TOKEN,
            available_at=now + policy.lease_seconds,
            owner=sa.case((is_fine, database.process)),
            previous_owner=columns.owner,  # SET sees the row as it was
            parked_at=sa.case((~is_fine, now)),
            last_error=sa.func.coalesce(due.c.problem, columns.last_error),
        )
        .returning(deliveries)
    )
