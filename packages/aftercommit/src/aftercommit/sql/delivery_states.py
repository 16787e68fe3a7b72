"""The states of a delivery, as conditions of its row. docs/life-of-a-delivery.md has them."""

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa

from aftercommit.sql.tables import (
    BLOCKED,
    CLAIMABLE,
    FINISHED,
    PARKED,
    deliveries,
    events,
    handler_pauses,
)

PAUSED_HANDLERS = sa.select(handler_pauses.c.handler)
PAUSED = deliveries.c.handler.in_(PAUSED_HANDLERS)
PAUSE = 1e12  # seconds that are added to the due time: claims, by their index, never come to it
DUE_AT = deliveries.c.available_at - sa.case((deliveries.c.available_at > PAUSE, PAUSE), else_=0.0)
HAS_FAILED = sa.or_(deliveries.c.attempts > 0, deliveries.c.unavailable_attempts > 0)
SAME_TIME_SECONDS = 1.0  # what is due so soon after its event is not delayed


def pause_of(handler: sa.ColumnElement[str]) -> sa.Case[float]:
    """Return what is added to the due time of a delivery of this handler: nothing, or a `PAUSE`.

    It is locked: who resumes the handler waits for this commit, and finds the delivery.
    """
    this = sa.select(handler_pauses).where(handler_pauses.c.handler == handler)
    return sa.case((sa.exists(this.with_for_update(read=True, key_share=True)), PAUSE), else_=0.0)


def delivery_state(clock: sa.ColumnElement[float]) -> sa.Case[str]:
    """Return the state of a delivery, as every surface names it (docs/life-of-a-delivery.md)."""
    row, is_later = deliveries.c, deliveries.c.available_at > clock
    is_running = sa.and_(row.owner.is_not(None), is_later, row.available_at < PAUSE)
    return sa.case(
        (row.discarded_at.is_not(None), "discarded"),
        (FINISHED, "done"),
        (PARKED, "parked"),
        (is_running, "running"),
        (PAUSED, "paused"),
        (row.blocked, "blocked"),
        (row.owner.is_not(None), "lease_expired"),
        (sa.and_(is_later, HAS_FAILED), "retrying"),
        (is_scheduled(clock), "scheduled"),
        else_="due",
    )


def blocked_by() -> sa.ScalarSelect[UUID]:
    """Return the event of the delivery that a blocked one waits for: the first of its lane."""
    first, row = deliveries.alias(), deliveries.c
    found = sa.select(first.c.event_id).where(
        *(row.blocked, ~FINISHED, first.c.lane == row.lane, first.c.completed_at.is_(None)),
        first.c.position < row.position,
    )
    return found.order_by(first.c.position).limit(1).correlate(deliveries).scalar_subquery()


def unknown_handlers(known: Collection[str]) -> sa.Select[str, int, float]:
    """Select the other handlers of what is pending: how much of each, and when its first is due."""
    row = deliveries.c
    pending = sa.select(row.handler, DUE_AT.label("due_at")).where(row.handler.not_in(known))
    found = sa.union_all(*(pending.where(part) for part in (CLAIMABLE, BLOCKED))).subquery()
    first_due = sa.func.min(found.c.due_at).label("first_due_at")
    others = sa.select(found.c.handler, sa.func.count().label("deliveries"), first_due)
    return others.group_by(found.c.handler).order_by(found.c.handler)


def is_scheduled(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Tell what is delayed, and was not attempted yet, paused or not.

    What is due later without a delay was written while the clock was ahead: somebody has to see it.
    """
    return sa.and_(clock < DUE_AT, ~HAS_FAILED, ~_is_written_ahead(clock))


def _is_written_ahead(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Tell what is due with an event of the future. There are few: an index has them."""
    event = events.alias()
    ahead = sa.select(event.c.id).where(event.c.recorded_at > clock - SAME_TIME_SECONDS)
    recorded = sa.select(event.c.recorded_at).where(event.c.id == deliveries.c.event_id)
    since = DUE_AT - recorded.correlate(deliveries).scalar_subquery()
    return sa.and_(deliveries.c.event_id.in_(ahead), since < SAME_TIME_SECONDS)
