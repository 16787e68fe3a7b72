"""The statements behind a claim: what is pending, what of it can be done here, and its events."""

from collections.abc import Collection
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.claims import DeliveryPolicy
from aftercommit.codec import MAX_EVENT_LENGTH, Codec
from aftercommit.errors import InvalidPayload
from aftercommit.sql import failure_history
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSED, PAUSED_HANDLERS
from aftercommit.sql.tables import CLAIMABLE, deliveries, events

LAST_ATTEMPT_UNFINISHED = "the last attempt did not finish"
TOO_LONG = failure_history.describe(
    InvalidPayload("an event", f"is longer than {MAX_EVENT_LENGTH}")
)

# by others, at the moment of a claim; as text, like the limit
MOST_LOCKED: sa.ColumnElement[int] = sa.literal_column("100", sa.Integer)

Which = sa.ColumnElement[bool]

NEXT_TOKEN = deliveries.c.token + 1
HANDLERS: sa.BindParameter[str] = sa.bindparam("handlers", expanding=True)

# as text: a value that the driver cannot read would fail the claim of all that is due, each time
_RAW = [sa.cast(column, sa.Text).label(column.name) for column in events.c if column.name != "id"]
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
RAW_EVENTS = sa.select(events.c.id, *_RAW).where(events.c.id.in_(_IDS))


def handler_params(handlers: Collection[str]) -> dict[str, str]:
    """Return the parameters of a statement that is made for so many handlers."""
    return {f"handler_{number}": handler for number, handler in enumerate(handlers)}


def claimable_here(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """What this process can do for `HANDLERS`, as a condition of a row."""
    return sa.and_(deliveries.c.handler.in_(HANDLERS), ~PAUSED, _is_readable(codec))


def first_of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any], which: Which
) -> list[sa.Select[Any]]:
    """Select the longest due of each of so many handlers that can be tried here: for a union."""
    wanted = _is_readable(codec), which
    firsts = [
        each.join(events).where(*wanted).order_by(deliveries.c.available_at).limit(1).subquery()
        for each in _of_each(codec, count, replay, *columns)
    ]
    return [sa.select(first) for first in firsts] or [sa.select(*columns).where(sa.false())]


def claim_statement(
    replay: bool, count: int, database: Database, policy: DeliveryPolicy
) -> ReturningUpdate[Any]:
    """Return the statement that takes the leases of what is due for so many handlers.

    It parks what can never be handled: that would be the longest due in each later claim.
    """
    columns, now = deliveries.c, database.clock
    problem = sa.case(
        (columns.attempts >= policy.max_attempts, LAST_ATTEMPT_UNFINISHED),
        (sa.func.length(events.c.data) > MAX_EVENT_LENGTH, TOO_LONG),
    ).label("problem")
    key, due_at = (columns.event_id, columns.handler), columns.available_at
    is_due = due_at <= now
    wanted = is_due, _is_readable(database.codec)
    # a literal, or PostgreSQL would not keep a plan for so few rows
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=True)
    # all parts are read at the same time, each in the order of its index, up to the limit; in a
    # CTE, as a subquery may be executed again for each row of the outer table
    if database.backend.single_writer:
        parts = _of_each(database.codec, count, replay, *key, due_at, problem)
        all_due = sa.union_all(*(each.join(events).where(*wanted) for each in parts))
        due = all_due.order_by("available_at").limit(limit).cte("due")
    else:  # what is read in parts cannot be locked there, and may have changed until it is
        some, parts = limit + MOST_LOCKED, _of_each(database.codec, count, replay, *key, due_at)
        firsts = (each.join(events).where(*wanted).order_by(due_at).limit(some) for each in parts)
        each = sa.union_all(*firsts).subquery().c
        first = sa.select(each.event_id, each.handler).order_by(each.available_at)
        found = first.limit(some).cte("found")
        this = columns.event_id == found.c.event_id, columns.handler == found.c.handler
        locked = (
            sa.select(*key, problem)
            .join_from(deliveries, events)
            .where(*this, CLAIMABLE, is_due)
            .with_for_update(of=deliveries, skip_locked=True)
            .lateral("locked")
        )
        due = sa.select(locked).select_from(found.join(locked, sa.true())).limit(limit).cte("due")
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


def _of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any]
) -> list[sa.Select[Any]]:
    """Select what is pending for each of so many handlers, if that handler is not paused.

    Each select follows a part of the index of its own, by due time. What is pending for others, or
    paused, or of later versions, is not even looked at, however much it is.
    """
    row, selects = deliveries.c, list[sa.Select[Any]]()
    for number, version in product(range(count), range(1, latest_version(codec) + 1)):
        name = sa.bindparam(f"handler_{number}", type_=sa.String)
        # nothing equals what a paused one is; as a condition, SQLite would ask for each row
        unpaused = sa.select(name).where(name.not_in(PAUSED_HANDLERS)).scalar_subquery()
        this = row.handler == unpaused, row.schema_version == version, row.replay == replay
        selects.append(sa.select(*columns).where(CLAIMABLE, *this))
    return selects


def latest_version(codec: Codec[object]) -> int:
    """Return the latest schema version of an event that this process can read."""
    return max(codec.versions.values(), default=1)


def _is_readable(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """Other types, and later versions, are for newer processes."""
    row, versions = events.c, codec.versions.items()
    known = [sa.and_(row.type == name, row.schema_version <= v) for name, v in versions]
    return sa.or_(sa.false(), *known)
