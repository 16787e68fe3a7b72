"""Replays for ordered handlers: each event gets its place among the outstanding ones.

Positions are those of the events, so batches may be stored in any order: each batch finds again
which delivery is the first of its lane. That is why nothing may begin meanwhile: the handler has to
be paused until everything is stored.
"""

import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.ends import describe
from aftercommit.deliveries.lanes import IN_THESE_LANES, lock_lanes
from aftercommit.deliveries.lock_order import in_order
from aftercommit.deliveries.pauses import PAUSE, PAUSED_HANDLERS
from aftercommit.deliveries.states import (
    IS_BEHIND,
    blocked,
    new,
    unblocked,
)
from aftercommit.deliveries.tables import FINISHED, RAW_EVENTS, deliveries, handler_pauses
from aftercommit.envelopes import HandlerSubscription
from aftercommit.errors import InvalidMessage
from aftercommit.extensions.operations.exceptions import OrderedHandler

NO_PLACE = "its key cannot be read, so a retry comes after all later events"
PAUSE_FIRST = (
    "pause it, replay, and resume it; otherwise new events would be handled before past ones"
)

logger = logging.getLogger(__name__)

# a process that stops releases many running ones, whatever their lanes
_LOCK = in_order(IN_THESE_LANES, ~FINISHED, ~deliveries.c.blocked)


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
    of_types: Mapping[str, HandlerSubscription],
) -> int:
    """Store deliveries of the wanted events in their lanes; return how many.

    An event that cannot be read has no key, and so no place in a lane: it is parked alone.

    :raises OrderedHandler: if the handler is not paused
    """
    await ensure_paused(transaction, handler)
    ids = (await transaction.execute(wanted)).scalars().all()
    found = (await transaction.execute(RAW_EVENTS, {"ids": ids})).mappings().all() if ids else ()
    rows, unreadable = list[dict[str, Any]](), list[dict[str, Any]]()
    for event in found:
        row = {"event_id": event["id"], "schema_version": int(event["schema_version"])}
        try:
            lane = _lane(database.codec, event, of_types[event["type"]])
        except InvalidMessage as error:
            problem = describe(error)
            unreadable.append(row | {"last_error": f"{NO_PLACE}: {problem}"})
        else:
            rows.append(row | {"position": int(event["position"]), "lane": lane})
    values = new(database.clock + PAUSE, handler=handler, replay=True)
    stored = sa.insert(deliveries).values(**values)
    if rows:
        lanes = {"lanes": list({row["lane"] for row in rows})}
        await lock_lanes(transaction, database, lanes["lanes"])
        await transaction.execute(_LOCK, lanes)
        await transaction.execute(stored.values(blocked=True), rows)
        await transaction.execute_dml(blocked().update(IN_THESE_LANES), lanes)
        first = unblocked(database.clock).update(IN_THESE_LANES, ~IS_BEHIND)
        await transaction.execute_dml(first, lanes)
    if unreadable:
        await transaction.execute(stored.values(parked_at=database.clock), unreadable)
    for each in unreadable:
        logger.error("%s parked on event %s: %s", handler, each["event_id"], each["last_error"])
    return len(rows) + len(unreadable)


def _lane(
    codec: Codec[object], row: Mapping[Any, Any], subscription: HandlerSubscription
) -> str | None:
    event = codec.from_row(row).event if subscription.key else None
    return subscription.lane_of(event, row["subject"])
