"""Replays for ordered handlers: each event gets its place among those that are outstanding.

Positions are those of the events, so it does not matter in which order batches are stored: which
delivery is the first of its lane is found again in each. That is why nothing may begin meanwhile:
the handler has to be paused, until all is stored.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.envelopes import Subscription
from aftercommit.extensions.operations.exceptions import OrderedHandler
from aftercommit.sql.claim_statements import RAW_EVENTS
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSE, PAUSED_HANDLERS
from aftercommit.sql.lanes import lock_lanes
from aftercommit.sql.tables import FINISHED, deliveries, handler_pauses
from aftercommit.sql.transaction import Transaction

PAUSE_FIRST = "pause it, replay, resume it; or what is new would come before what is past"

_earlier = deliveries.alias()
_lanes: sa.BindParameter[Any] = sa.bindparam("lanes", expanding=True)
_IN_THESE = deliveries.c.lane.in_(_lanes), ~FINISHED
_is_behind = sa.exists().where(
    _earlier.c.lane == deliveries.c.lane,
    _earlier.c.completed_at.is_(None),
    _earlier.c.position < deliveries.c.position,
)
# what runs goes on to its end, and then lets nothing begin
_BLOCK = sa.update(deliveries).where(*_IN_THESE, ~deliveries.c.blocked, _is_behind)
_UNBLOCK = sa.update(deliveries).where(*_IN_THESE, deliveries.c.blocked, ~_is_behind)


async def ensure_paused(transaction: Transaction, handler: str) -> None:
    """Make sure that a handler is paused, and stays so until the transaction ends.

    :raises OrderedHandler: if it is not
    """
    pause = PAUSED_HANDLERS.where(handler_pauses.c.handler == handler)
    found = await transaction.execute(pause.with_for_update(read=True, key_share=True))
    if found.first() is None:
        raise OrderedHandler(handler, PAUSE_FIRST)


async def enqueue(
    transaction: Transaction,
    database: Database,
    wanted: sa.Select[Any],
    handler: str,
    of_types: Mapping[str, Subscription],
) -> int:
    """Store deliveries of the events that are wanted in their lanes; return how many.

    :raises OrderedHandler: if the handler is not paused
    :raises InvalidMessage: if an event cannot be read, and only that would say its key
    """
    await ensure_paused(transaction, handler)
    ids = (await transaction.execute(wanted)).scalars().all()
    found = (await transaction.execute(RAW_EVENTS, {"ids": ids})).mappings().all() if ids else ()
    rows = [
        {
            "event_id": event["id"],
            "position": int(event["position"]),
            "schema_version": int(event["schema_version"]),
            "lane": _lane(database.codec, event, of_types[event["type"]]),
        }
        for event in found
    ]
    if rows:
        lanes = {"lanes": list({row["lane"] for row in rows})}
        await lock_lanes(transaction, database, lanes["lanes"])
        fresh = {"attempts": 0, "token": 1, "replay": True, "blocked": True}
        new = sa.insert(deliveries).values(
            handler=handler, available_at=database.clock + PAUSE, **fresh
        )
        await transaction.execute(new, rows)
        await transaction.execute_dml(_BLOCK.values(blocked=True), lanes)
        await transaction.execute_dml(_UNBLOCK.values(blocked=False), lanes)
    return len(rows)


def _lane(codec: Codec[object], row: Mapping[Any, Any], subscription: Subscription) -> str | None:
    event = codec.from_row(row).event if subscription.key else None
    return subscription.lane_of(event, row["subject"])
