"""Locks for an upgrade of the schema: all tables at once, or none while it waits.

An upgrade that has changed one table, and waits for another, is in a deadlock with each transaction
that has locked the other, and goes on to the first. The server would end one of the two.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

LOCK_NOT_AVAILABLE = "55P03"
TRY = text("SET LOCAL lock_timeout = '500ms'")  # PostgreSQL looks for deadlocks after a second
TRIES = 60


def lock_tables(connection: Connection, names: Collection[str]) -> None:
    """Lock those of these tables that there are, until the transaction ends.

    :raises sqlalchemy.exc.DBAPIError: if one of them stays locked for half a minute
    """
    found = sorted({*names}.intersection(inspect(connection).get_table_names()))
    quoted = ", ".join(map(connection.dialect.identifier_preparer.quote, found))
    for left in reversed(range(TRIES)):
        try:
            with connection.begin_nested():  # what it has locked is free again if it fails
                connection.execute(TRY)
                connection.execute(text(f"LOCK TABLE {quoted}"))
            return
        except DBAPIError as error:
            driver_error: Any = error.orig
            if not left or driver_error.sqlstate != LOCK_NOT_AVAILABLE:
                raise
