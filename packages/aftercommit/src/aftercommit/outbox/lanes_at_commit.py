"""Lanes of recorded events: they are locked when the session is about to be committed.

A session that has locked a lane and then waits for a row would deadlock with a handler that has the
row and waits for the lane; so would two sessions that record about the same things in different
orders. Therefore deliveries are first stored without a place in their lane. Before the COMMIT,
after the last flush, all lanes are locked with one statement, and the places are taken under these
locks.
"""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql import Executable

from aftercommit.deliveries.lanes import PLACEMENT, lock_keys
from aftercommit.outbox.translated_schemas import untranslated

_LANES, _STALE = "aftercommit_lanes", "aftercommit_stale_lanes"


def place_at_commit(
    connection: sa.Connection, lock: Executable | None, lanes: Iterable[str]
) -> None:
    """Take places in these lanes, which `lock` locks, when the transaction is committed."""
    if not has_recorded(connection):
        connection.info[_LANES] = connection.get_transaction(), lock, set[str]()
    *_, waiting = connection.info[_LANES]
    waiting.update(lanes)
    if not event.contains(connection, "commit", take_places):
        event.listen(connection, "commit", take_places)
        event.listen(connection, "prepare_twophase", _take_places_before)
        event.listen(connection, "commit_twophase", _take_places_before)


def has_recorded(connection: sa.Connection) -> bool:
    """Tell whether deliveries in this transaction wait for their places."""
    transaction, *_ = connection.info.get(_LANES, (None,))
    return transaction is not None and transaction is connection.get_transaction()


def take_places(connection: sa.Connection) -> None:
    """Lock the lanes of this transaction's deliveries, and put these behind all others."""
    if not has_recorded(connection):
        return
    _, lock, lanes = connection.info[_LANES]
    with untranslated(connection):
        connection.execute(lock, {"keys": lock_keys(lanes)})
        placed: Any = connection.execute(PLACEMENT, {"lanes": [*lanes]}).all()
    connection.info[_STALE] = any(row.is_stale for row in placed)
    del connection.info[_LANES]


def _take_places_before(connection: sa.Connection, *_: object) -> None:
    """Do the same in a session with two phases, before the first of them."""
    take_places(connection)


def has_stale_places(connection: sa.Connection) -> bool:
    """Tell whether all deliveries recorded in a transaction are blocked by mistake; ask once."""
    if connection.closed or connection.invalidated:
        return False
    return bool(connection.info.pop(_STALE, False))
