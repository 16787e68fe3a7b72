"""Metrics that only the database has: outstanding deliveries, their states, how late they are.

It reads each delivery that is pending or parked, by their partial indexes: what is done costs
nothing, and a backlog of a million costs a second.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import sqlalchemy as sa
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from aftercommit.database.database import Database
from aftercommit.database.exceptions import SchemaTooNew, SchemaTooOld
from aftercommit.database.migrations.history import History
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.claim_statement import (
    claimable_here,
    first_of_each,
    handler_params,
    is_readable,
    union_of,
)
from aftercommit.deliveries.limit_uses import LimitUses
from aftercommit.deliveries.pauses import PAUSED
from aftercommit.deliveries.states import delivery_state
from aftercommit.deliveries.tables import (
    BLOCKED,
    CLAIMABLE,
    PARKED,
    deliveries,
    events,
    handler_pauses,
)
from aftercommit.extensions.clock_difference import clock_difference
from aftercommit.extensions.old_events import MOST_COUNTED, OLD_DAYS, count_old_events
from aftercommit.extensions.schedule_states import read_schedules
from aftercommit.limits import NO_LIMITS, Limits, LimitUse
from aftercommit.schedules import Every
from aftercommit.terminal.escaping import escape_controls

STATES = ("scheduled", "due", "retrying", "running", "lease_expired", "paused", "blocked", "parked")
PAUSED_AT = "When a handler that is still paused was paused, in seconds since 1970."
BEHIND_PARKED = "Lanes of an ordered handler in which deliveries wait behind a parked one."
UNKNOWN = "Stored deliveries of a handler that this process does not know, delayed ones included."
HELD = "Due deliveries that a limit holds back; these are not late."
OLDEST_HELD = "Age of the oldest due delivery of a limit that holds some back; 0 if it holds none."
OLD = f"Events older than {OLD_DAYS} days, up to {MOST_COUNTED}: what a retention time deletes."
CLOCKS = "By how much the database's clock is ahead of this machine's."
LATE = "Seconds for which a time of a schedule has come that no worker has stored; 0 if none has."
MISSED = "Times of a schedule that came before its last one while no worker was up, up to 1000."
DUE = "Age of a handler's oldest due delivery that this process could run; 0 if it has none."
AGES = {
    "oldest_unclaimable_seconds": "Age of the oldest due delivery, if this process cannot run it.",
    "oldest_failing_seconds": "Age of the oldest event with a failed delivery that is retried.",
}

MAX_LABEL = 200  # characters: an earlier version has stored names of any length

Now = sa.ColumnElement[float]
Uses = Sequence[tuple[LimitUse, Sequence[str]]]  # of limits, each with the handlers that share it
_waiting = deliveries.alias()
_HELD_UP = (
    sa.select(deliveries.c.handler, sa.func.count().label("lanes"))
    .where(PARKED, deliveries.c.lane.is_not(None), ~deliveries.c.blocked)
    .where(
        sa.exists().where(
            *(_waiting.c.lane == deliveries.c.lane, _waiting.c.completed_at.is_(None)),
            _waiting.c.position > deliveries.c.position,
        )
    )
    .group_by(deliveries.c.handler)
)


async def queue_metrics(
    database: Database,
    handlers: Collection[str],
    limits: Limits = NO_LIMITS,
    every: Sequence[Every[Any]] = (),
) -> list[Metric]:
    """Return the metrics of outstanding work; the rest is what this process has.

    Each of these handlers has a figure for each state, so that none and unknown differ.

    :raises Unavailable: if the database is down
    """
    now = database.clock
    async with database.probe_transaction() as transaction:
        counts = (await transaction.execute(_outstanding(now))).all()
        held_up = (await transaction.execute(_HELD_UP)).all()
        pauses = (await transaction.execute(sa.select(handler_pauses))).all()
        uses = await LimitUses(database).read_all(transaction, limits)
        states = await read_schedules(transaction, database, every) if every else []
        due = await _lateness(transaction, database, handlers, uses)
        waiting = {
            use.limit.name: await _oldest_due(transaction, database, its) for use, its in uses
        }
        ages = await _ages(transaction, database, handlers, limits)
        old = await count_old_events(transaction, database)
        ahead = await clock_difference(transaction, database)
    outstanding = dict.fromkeys(product(handlers, STATES), 0)
    outstanding |= {(row.handler, row.state): row.deliveries for row in counts}
    stuck = dict.fromkeys(((name,) for name in handlers), 0)
    stuck |= {(row.handler,): row.lanes for row in held_up}
    unknown = {(handler,): 0 for handler in handlers}  # the limit's own process shows none
    for row in (row for row in counts if row.handler not in handlers and row.state != "parked"):
        unknown[row.handler,] = unknown.get((row.handler,), 0) + row.deliveries
    held = {
        (use.limit.name,): max(
            0.0, sum(outstanding.get((each, "due"), 0) for each in its) - use.permits
        )
        for use, its in uses
    }
    oldest = {name: waiting[name[0]] if held[name] else 0.0 for name in held}
    late = {(each.name,): each.late_seconds for each in states if each.next_at}
    missed = {(each.name,): each.missed for each in states if each.next_at}
    paused = {(row.handler, row.paused_by[:MAX_LABEL]): row.paused_at for row in pauses}
    text = f"Outstanding deliveries, by state: {', '.join(STATES)}."
    named = partial(gauge, database.application)
    return [
        named("deliveries", text, outstanding, "handler", "state"),
        named("held_deliveries", HELD, held, "limit"),
        named("oldest_held_seconds", OLDEST_HELD, oldest, "limit"),
        named("schedule_late_seconds", LATE, late, "schedule"),
        named("schedule_missed_times", MISSED, missed, "schedule"),
        named("lanes_behind_parked", BEHIND_PARKED, stuck, "handler"),
        named("unknown_handler_deliveries", UNKNOWN, unknown, "handler"),
        named("handler_paused_timestamp_seconds", PAUSED_AT, paused, "handler", "paused_by"),
        named("old_events", OLD, {(): old}),
        named("database_clock_ahead_seconds", CLOCKS, {(): ahead}),
        named("oldest_due_seconds", DUE, {(name,): age for name, age in due.items()}, "handler"),
        *(
            named(name, text, {(): age})
            for (name, text), age in zip(AGES.items(), ages, strict=True)
        ),
    ]


def gauge(
    application: str, name: str, text: str, values: Mapping[Any, float], *labels: str
) -> Metric:
    """Return a metric of an application, with a value for each tuple of labels.

    A label may be what somebody has typed, so controls are escaped: they would command a terminal.
    """
    metric = GaugeMetricFamily(f"{application}_{name}", text, labels=labels)
    for of_labels, value in values.items():
        metric.add_metric([escape_controls(label) for label in of_labels], value)
    return metric


async def readiness_error(
    database: Database,
    handlers: Collection[str],
    max_lag_seconds: float,
    limits: Limits = NO_LIMITS,
) -> str | None:
    """Return why this process should get no work, as far as the database knows, or None.

    One reason is an older schema than this program needs. A newer one is harmless to a running
    process, because upgrades only add; otherwise an upgrade would take all processes out of use
    before one of the new version runs.

    The other reason is that a delivery of these handlers has been due for too long. Replayed
    deliveries may wait, and so may those that a limit holds back. Deliveries that only other
    processes know, or can read, do not count.

    :raises Unavailable: if the database is down
    """
    async with database.probe_transaction() as transaction:
        for history in database.histories:
            if await transaction.run_sync(partial(is_outdated, history)):
                return f"the database schema of {history.name} is outdated"
        uses = await LimitUses(database).read_all(transaction, limits)
        late = max((await _lateness(transaction, database, handlers, uses)).values(), default=0.0)
    too_late = f"work is overdue for {late:.0f} s: does a worker run?"
    return too_late if late > max_lag_seconds else None


def _outstanding(now: Now) -> sa.Select[str, str, int]:
    columns = deliveries.c.handler, delivery_state(now).label("state")
    each = (
        sa.select(*columns).where(which) for which in (CLAIMABLE, BLOCKED, PARKED)
    )  # using one index each
    found = sa.union_all(*each).subquery()
    names = found.c.handler, found.c.state
    return sa.select(*names, sa.func.count().label("deliveries")).group_by(*names)


async def _lateness(
    transaction: Transaction, database: Database, handlers: Collection[str], uses: Uses
) -> dict[str, float]:
    """Return for how long a delivery of each handler has been due, in seconds, or 0.

    With a limit, it is for how long the limit lets one begin: what a limit holds is not late.
    """
    late, limited = dict.fromkeys(handlers, 0.0), {each for _, its in uses for each in its}
    for row in await _due(transaction, database, [*late.keys() - limited]):
        late[row.handler] = max(0.0, row.now - row.due_at)
    for use, its in uses:
        for row in await _due(transaction, database, its) if use.permits >= 1 else ():
            since = max(row.due_at, use.permit_at, use.claimed_at or 0.0)
            late[row.handler] = max(0.0, use.now - since)
    return late


async def _oldest_due(
    transaction: Transaction, database: Database, handlers: Sequence[str]
) -> float:
    """Return for how long a delivery of these handlers has been due, in seconds, or 0."""
    found = await _due(transaction, database, handlers)
    return max((max(0.0, row.now - row.due_at) for row in found), default=0.0)


async def _due(
    transaction: Transaction, database: Database, handlers: Sequence[str]
) -> Sequence[sa.Row[Any]]:
    """Return the handlers that have a due delivery, since when, and the time now."""
    now, row = database.clock, deliveries.c
    columns, which = (row.handler, row.available_at), row.available_at <= now
    firsts = first_of_each(database.codec, len(handlers), False, *columns, which=which)
    first = union_of(firsts).subquery().c
    due_at = sa.func.min(first.available_at).label("due_at")
    found = sa.select(first.handler, due_at, now.label("now")).group_by(first.handler)
    return (await transaction.execute(found, handler_params(handlers))).all()


def _unclaimable(database: Database, limits: Limits) -> sa.Select[Any]:
    """Return a query for the oldest due delivery: if others can run, it soon is one that cannot.

    A limit may hold deliveries back for any time, so those with a limit are left out.
    """
    now, row = database.clock, deliveries.c
    limited = row.handler.in_(sa.bindparam("limited", [*limits], expanding=True))
    held = [~sa.and_(limited, is_readable(database.codec))] if limits else []
    first = (
        sa.select(row.available_at, claimable_here(database.codec).label("is_ours"))
        .join_from(deliveries, events)
        .where(CLAIMABLE, row.replay == sa.false(), ~PAUSED, row.available_at <= now, *held)
        .order_by(row.available_at)
        .limit(1)
        .subquery()
    )
    return sa.select(now - first.c.available_at).where(~first.c.is_ours)


def _failing(now: Now) -> sa.Select[Any]:
    """Return a query for retried deliveries of any handler: an outage alone never parks them."""
    failed = CLAIMABLE, deliveries.c.last_error.is_not(None), ~deliveries.c.replay, ~PAUSED
    age = now - sa.func.min(events.c.recorded_at)
    return sa.select(age).join_from(deliveries, events).where(*failed)


async def _ages(
    transaction: Transaction, database: Database, handlers: Collection[str], limits: Limits
) -> list[float]:
    """Return the seconds of `AGES`, in its order; 0 if there is nothing so old."""
    queries = _unclaimable(database, limits), _failing(database.clock)
    columns = (query.scalar_subquery() for query in queries)
    found = await transaction.execute(sa.select(*columns), {"handlers": list(handlers)})
    return [max(0.0, age or 0.0) for age in found.one()]


def is_outdated(history: History, connection: sa.Connection) -> bool:
    """Return whether the tables are older than this program needs; newer ones are fine."""
    try:
        return (history.stored_revision(connection) or "") < history.newest
    except SchemaTooOld:
        return True
    except SchemaTooNew:
        return False
