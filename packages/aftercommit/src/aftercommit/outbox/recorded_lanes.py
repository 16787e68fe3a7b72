"""Lanes of what is recorded in a session: they are locked when it is about to be committed.

A session that has locked a lane, and then waits for a row, would hold up the handler that has the
row and waits for the lane; so would two sessions that record about the same things in another
order. So what is recorded is stored without a place in its lane. Before the COMMIT, after the last
flush, all lanes are locked with one statement, and the places are taken under these locks.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from aftercommit.claims import NewDelivery
from aftercommit.sql.backend import DatabaseBackend
from aftercommit.sql.delivery_states import Now
from aftercommit.sql.lanes import PLACEMENT, insertion, lock_keys, rows_of
from aftercommit.sql.tables import deliveries

_LANES, _STALE = "aftercommit_lanes", "aftercommit_stale_lanes"


def store_in_lanes(
    connection: sa.Connection, backend: type[DatabaseBackend], now: Now, new: Iterable[NewDelivery]
) -> None:
    """Insert those of some deliveries that are in lanes; their places they get with the commit.

    On SQLite at once: who has written there is the only writer until then.
    """
    ordered = [each for each in new if each.lane]
    if not ordered:
        return
    if backend.lock_lanes is None:
        connection.execute(insertion(now), rows_of(ordered))
        return
    values = {"attempts": 0, "token": 1, "available_at": now, "blocked": True}
    rows = [
        {
            "event_id": envelope.id,
            "schema_version": envelope.schema_version,
            "handler": handler,
            "lane": lane,
        }
        for envelope, handler, _, lane in ordered
    ]
    connection.execute(sa.insert(deliveries).values(**values), rows)
    if not has_recorded(connection):
        connection.info[_LANES] = connection.get_transaction(), backend.lock_lanes, set[str]()
    *_, lanes = connection.info[_LANES]
    lanes.update(row["lane"] for row in rows)
    if not event.contains(connection, "commit", take_places):
        event.listen(connection, "commit", take_places)


def has_recorded(connection: sa.Connection) -> bool:
    """Tell whether something waits for its place in this transaction."""
    transaction, *_ = connection.info.get(_LANES, (None,))
    return transaction is not None and transaction is connection.get_transaction()


def take_places(connection: sa.Connection) -> None:
    """Lock the lanes of what this transaction has recorded, and put it behind what is there."""
    if not has_recorded(connection):
        return
    _, lock, lanes = connection.info[_LANES]
    connection.execute(lock, {"keys": lock_keys(lanes)})
    placed: Any = connection.execute(PLACEMENT, {"lanes": [*lanes]}).all()
    connection.info[_STALE] = any(row.is_stale for row in placed)
    del connection.info[_LANES]


def has_stale_places(connection: sa.Connection) -> bool:
    """Tell whether a transaction has left all blocked that it has recorded; ask once."""
    if connection.closed or connection.invalidated:
        return False
    return bool(connection.info.pop(_STALE, False))
