"""The statement that claims due deliveries, and other statements that look for them this way.

With asyncpg, the claim is written in SQL: `extensions/postgresql/asyncpg_delivery_store.sql`.
"""

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from aftercommit.codec import MAX_EVENT_LENGTH, Codec
from aftercommit.database.database import Database
from aftercommit.database.rare import rare
from aftercommit.deliveries import states
from aftercommit.deliveries.ends import describe
from aftercommit.deliveries.limit_uses import NAME
from aftercommit.deliveries.pauses import PAUSED, PAUSED_HANDLERS
from aftercommit.deliveries.tables import CLAIMABLE, deliveries, events
from aftercommit.delivery_policy import DeliveryPolicy
from aftercommit.errors import InvalidPayload
from aftercommit.giving_up import TOO_LATE, UNFINISHED

LAST_ATTEMPT_UNFINISHED = "the last attempt did not finish"
TOO_LONG = describe(InvalidPayload("an event", f"is longer than {MAX_EVENT_LENGTH}"))
# by others, at the moment of a claim; as text, like the limit
MOST_LOCKED: sa.ColumnElement[int] = sa.literal_column("100", sa.Integer)
MOST_PARTS = 125  # of a claim; one with 2,000 takes a second
OF_EVENT = rare(events.c.id == deliveries.c.event_id)
HANDLERS: sa.BindParameter[str] = sa.bindparam("handlers", expanding=True)

Which = sa.ColumnElement[bool]
_ATTEMPTS = sa.cast(deliveries.c.attempts, sa.String)


def claim_statement(
    database: Database,
    policy: DeliveryPolicy,
    count: int,
    replay: bool,
    *,
    is_limited: bool = False,
    instead: Collection[str] = (),
) -> ReturningUpdate[Any]:
    """Return the statement that claims due deliveries for this many handlers, replays or others.

    Handlers for which something happens `instead` are given up here if a last attempt did not end,
    or if it is time: the claim is then for that. If the handlers have a limit, its name and the
    time of the claim are parameters.

    Due deliveries are read in parts, all at the same time, each in the order of its index and up to
    the limit; in a CTE, because a subquery may be executed again for each row of the outer table.
    """
    row, codec, now, by = deliveries.c, database.codec, database.clock, dict[str, Any]()
    if is_limited:
        now, by = sa.bindparam("now", type_=sa.Double), {"limit_name": NAME}
    key = row.event_id, row.handler
    claim = states.claimed(now, database.process, policy.lease_seconds, **by)
    is_unfinished_last = sa.and_(row.owner.is_not(None), row.attempts >= policy.max_attempts)
    may_end = sa.and_(_has_end(instead), row.given_up.is_(None))
    problem = sa.case(
        (sa.and_(is_unfinished_last, ~may_end), LAST_ATTEMPT_UNFINISHED),
        (sa.func.length(events.c.data) > MAX_EVENT_LENGTH, TOO_LONG),
    ).label("problem")
    given_up = sa.case(
        (sa.and_(may_end, is_unfinished_last), f"{UNFINISHED}::" + _ATTEMPTS),
        (sa.and_(may_end, row.give_up_at <= now), f"{TOO_LATE}::" + _ATTEMPTS),
    ).label("given_up")
    what = problem, given_up
    wanted = claim.when, is_ours(instead), is_readable(codec)
    # a literal, or PostgreSQL would not keep a plan for so few rows
    limit = sa.bindparam("limit", type_=sa.Integer, literal_execute=True)
    if database.backend.single_writer:
        parts = _of_each(codec, count, replay, *key, row.available_at, *what)
        all_due = union_of([each.join(events, OF_EVENT).where(*wanted) for each in parts])
        due = all_due.order_by("available_at").limit(limit).cte("due")
    else:  # rows of a UNION cannot be locked there, and may have changed before they are
        some, by_time = limit + MOST_LOCKED, row.available_at
        parts = _of_each(codec, count, replay, *key, by_time)
        firsts = [part.join(events).where(*wanted).order_by(by_time).limit(some) for part in parts]
        each = union_of(firsts).subquery().c
        first = sa.select(each.event_id, each.handler).order_by(each.available_at)
        found = first.limit(some).cte("found")
        locked = (
            sa.select(*key, *what)
            .join_from(deliveries, events)
            .where(row.event_id == found.c.event_id, row.handler == found.c.handler)
            .where(claim.when, is_ours(instead))
            .with_for_update(of=deliveries, skip_locked=True)
            .lateral("locked")
        )
        due = sa.select(locked).select_from(found.join(locked, sa.true())).limit(limit).cte("due")
    claim = states.claimed_or_parked(claim, now, due.c.problem, due.c.given_up)
    this = row.event_id == due.c.event_id, row.handler == due.c.handler
    return claim.update_found(*this).returning(deliveries)


def _of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any]
) -> list[sa.Select[Any]]:
    """Select pending deliveries of each of this many handlers, if that handler is not paused.

    Each select follows its own part of the index, by due time. Deliveries of other handlers, paused
    ones, and those of later versions are not even read, however many there are.
    """
    row, selects = deliveries.c, list[sa.Select[Any]]()
    for number, version in product(range(count), range(1, latest_version(codec) + 1)):
        name = sa.bindparam(f"handler_{number}", type_=sa.String)
        # nothing equals what a paused one has; as a condition, SQLite would check each row
        unpaused = sa.select(name).where(name.not_in(PAUSED_HANDLERS)).scalar_subquery()
        this = rare(row.handler == unpaused), row.schema_version == version, row.replay == replay
        selects.append(sa.select(*columns).where(CLAIMABLE, *this))
    return selects


def union_of(parts: Sequence[sa.Select[Any]]) -> sa.CompoundSelect[Any]:
    """Return the rows of all parts, however many there are: SQLite takes 500 at a time."""
    some = [parts[at : at + MOST_PARTS] for at in range(0, len(parts), MOST_PARTS)]
    if len(some) == 1:
        return sa.union_all(*parts)
    return union_of([sa.select(sa.union_all(*each).subquery()) for each in some])


def latest_version(codec: Codec[object]) -> int:
    """Return the latest schema version of an event that this process can read."""
    return max(codec.versions.values(), default=1)


def is_ours(instead: Collection[str]) -> Which:
    """Return a condition: what happens instead of other handlers, only newer processes know."""
    return sa.or_(deliveries.c.given_up.is_(None), _has_end(instead))


def _has_end(instead: Collection[str]) -> Which:
    return deliveries.c.handler.in_(sa.bindparam("instead", [*instead], expanding=True))


def is_readable(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """Return a condition: other types, and later versions, are for newer processes."""
    row, versions = events.c, codec.versions.items()
    known = [sa.and_(row.type == name, row.schema_version <= v) for name, v in versions]
    return sa.or_(sa.false(), *known)


def handler_params(handlers: Collection[str]) -> dict[str, str]:
    """Return the parameters of a statement for this many handlers."""
    return {f"handler_{number}": handler for number, handler in enumerate(handlers)}


def claimable_here(codec: Codec[object]) -> sa.ColumnElement[bool]:
    """Return the condition for rows of `HANDLERS` that this process can run."""
    return sa.and_(deliveries.c.handler.in_(HANDLERS), ~PAUSED, is_readable(codec))


def first_of_each(
    codec: Codec[object], count: int, replay: bool, *columns: sa.ColumnElement[Any], which: Which
) -> list[sa.Select[Any]]:
    """Select the longest due delivery of each of this many handlers; for a union."""
    wanted = is_readable(codec), which
    firsts = [
        each.join(events, OF_EVENT)
        .where(*wanted)
        .order_by(deliveries.c.available_at)
        .limit(1)
        .subquery()
        for each in _of_each(codec, count, replay, *columns)
    ]
    return [sa.select(first) for first in firsts] or [sa.select(*columns).where(sa.false())]
