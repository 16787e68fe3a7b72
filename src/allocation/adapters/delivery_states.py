"""The states of a delivery, as conditions of its row. docs/glossary.md says what each means."""

import sqlalchemy as sa

from allocation.adapters.orm import FINISHED, PARKED, deliveries, handler_pauses

PAUSED_HANDLERS = sa.select(handler_pauses.c.handler)
PAUSED = deliveries.c.handler.in_(PAUSED_HANDLERS)
PAUSE = 1e12  # seconds that are added to the due time: claims, by their index, never come to it
DUE_AT = deliveries.c.available_at - sa.case((deliveries.c.available_at > PAUSE, PAUSE), else_=0.0)


def pause_of(handler: sa.ColumnElement[str]) -> sa.Case[float]:
    """Return what is added to the due time of a delivery of this handler: nothing, or a `PAUSE`.

    It is locked: who resumes the handler waits for this commit, and finds the delivery.
    """
    this = sa.select(handler_pauses).where(handler_pauses.c.handler == handler)
    return sa.case((sa.exists(this.with_for_update(read=True, key_share=True)), PAUSE), else_=0.0)


def delivery_state(clock: sa.ColumnElement[float]) -> sa.Case[str]:
    """Return the state of a delivery, as every surface names it (docs/glossary.md)."""
    row, is_later = deliveries.c, deliveries.c.available_at > clock
    is_running = sa.and_(row.owner.is_not(None), is_later, row.available_at < PAUSE)
    return sa.case(
        (row.discarded_at.is_not(None), "discarded"),
        (FINISHED, "done"),
        (PARKED, "parked"),
        (is_running, "running"),
        (PAUSED, "paused"),
        (row.owner.is_not(None), "lease_expired"),
        (is_later, "scheduled"),
        else_="due",
    )


def is_scheduled(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    """Tell what is for later and was not attempted yet, paused or not."""
    row = deliveries.c
    return sa.and_(clock < DUE_AT, row.attempts == 0, row.unavailable_attempts == 0)
