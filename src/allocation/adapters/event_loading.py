"""The stored events, read after the claim: one that cannot be read concerns its own deliveries."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from allocation.adapters import serialization
from allocation.adapters.database import Database
from allocation.adapters.exceptions import InvalidMessage, InvalidPayload
from allocation.adapters.orm import events
from allocation.domain.error_kinds import Unavailable
from allocation.service_layer.envelopes import Envelope, EventId

Found = dict[EventId, Envelope | InvalidMessage]
Claimed = tuple[Mapping[Any, Any], Envelope | InvalidMessage]  # the row of a delivery, its event

TOO_LONG = InvalidPayload("an event", f"is longer than {serialization.MAX_EVENT_LENGTH}")

_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_IS_SHORT = sa.func.length(events.c.data) <= serialization.MAX_EVENT_LENGTH
_SHORT = sa.select(events).where(events.c.id.in_(_IDS), _IS_SHORT)


async def load_envelopes(database: Database, ids: Collection[EventId]) -> Found:
    """Read these events at once; one by one, if one of them stops the others.

    :raises Unavailable: if the database cannot be asked
    """
    if not ids:
        return {}
    try:
        async with database.read_transaction() as transaction:
            rows = (await transaction.execute(_SHORT, {"ids": list(ids)})).all()
    except Unavailable:
        raise
    except Exception as error:  # a driver or a type cannot make a value of what is stored
        if len(ids) == 1:
            return dict.fromkeys(ids, InvalidPayload("an event", str(error)))
        found: Found = {}
        for each in ids:
            found |= await load_envelopes(database, [each])
        return found
    readable = {row.id: envelope_of(row._asdict()) for row in rows}
    return {**dict.fromkeys(ids, TOO_LONG), **readable}


def envelope_of(row: dict[str, Any]) -> Envelope | InvalidMessage:
    """Return the envelope that was stored as `row`, or why it cannot be made."""
    try:
        return serialization.from_row(row)
    except InvalidMessage as error:
        return error
    except Exception as error:  # in an upcaster, or in the class of the event
        return InvalidPayload(row["type"], f"{type(error).__name__}: {error}")
