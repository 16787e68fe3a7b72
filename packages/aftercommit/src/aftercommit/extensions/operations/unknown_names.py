"""Pending deliveries whose handler or event this process does not know."""

from collections.abc import Collection

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.deliveries.claim_statement import is_readable
from aftercommit.deliveries.states import DUE_AT
from aftercommit.deliveries.tables import BLOCKED, CLAIMABLE, deliveries, events


def unknown_events(codec: Codec[object]) -> sa.Select[str, int, int]:
    """Select the types and versions of pending events that cannot be read here."""
    kind, number = (events.c.type, events.c.schema_version), sa.func.count().label("deliveries")
    pending = sa.select(*kind, number).join_from(deliveries, events).where(CLAIMABLE)
    return pending.where(~is_readable(codec)).group_by(*kind).order_by(*kind)


def unknown_handlers(known: Collection[str]) -> sa.Select[str, int, float]:
    """Select the unknown handlers of pending deliveries, with the number and the first due time."""
    row = deliveries.c
    pending = sa.select(row.handler, DUE_AT.label("due_at")).where(row.handler.not_in(known))
    found = sa.union_all(*(pending.where(part) for part in (CLAIMABLE, BLOCKED))).subquery()
    first_due = sa.func.min(found.c.due_at).label("first_due_at")
    others = sa.select(found.c.handler, sa.func.count().label("deliveries"), first_due)
    return others.group_by(found.c.handler).order_by(found.c.handler)
