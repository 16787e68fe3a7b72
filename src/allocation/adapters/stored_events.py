"""The events that are stored, read one by one if one of them stops the others."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from allocation.adapters import wire
from allocation.adapters.database import Session
from allocation.adapters.exceptions import InvalidMessage, InvalidPayload, StatementRefused
from allocation.adapters.orm import events
from allocation.service_layer.envelopes import Envelope, EventId


async def read_envelopes(
    session: Session, ids: Collection[EventId]
) -> dict[EventId, Envelope | InvalidMessage]:
    """Read these events at once; one by one, if one of them stops the others."""
    statement = sa.select(events).where(events.c.id.in_(ids))
    try:
        return {row.id: _envelope(row) for row in await session.execute(statement)}
    except (ValueError, StatementRefused) as error:
        if len(ids) == 1:
            return dict.fromkeys(ids, InvalidPayload("an event", str(error)))
        one_by_one = [await read_envelopes(session, [event_id]) for event_id in ids]
        return {event_id: found[event_id] for found in one_by_one for event_id in found}


def _envelope(row: sa.Row[Any]) -> Envelope | InvalidMessage:
    try:
        return wire.from_row(row._asdict())
    except InvalidMessage as error:
        return error
