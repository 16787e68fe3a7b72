"""Upgrades schemas while others work: a migration gets each lock soon, or gives up all of them.

On PostgreSQL, a migration that has changed one table and waits for another one deadlocks with every
transaction that has written to the other and goes on to the first; and later transactions wait
behind it. So it waits only for a moment; then it rolls everything back, and tries again after a
longer pause. Nobody needs to know which tables a migration changes: this happens at any statement
that does not get its lock in time.
"""

from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import DBAPIError

from aftercommit.database.migrations.history import History

LOCK_NOT_AVAILABLE, DEADLOCK = "55P03", "40P01"
# longer and longer, to get past transactions that take longer than the first waits; the last ones
# are longer than PostgreSQL's deadlock_timeout, after which it ends an autovacuum
WAITS = [*[0.05] * 4, *[0.1] * 3, *[0.2] * 2, *[0.4] * 3, *[0.8] * 6, *[1.5] * 2]
"""Seconds for which a migration waits for a lock, in each try; with the pauses, half a minute."""
PAUSE = 2.0  # times the wait before it: so long, at least, others can work


def upgrade_histories(connection: Connection, histories: Sequence[History]) -> None:
    """Upgrade all of them to their newest revisions, in the transaction of the connection.

    Tables named in the files of pending revisions are locked first, so that long changes are rarely
    repeated.

    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises SchemaTooNew: if one was made by a newer version of this program
    :raises SchemaTooOld: if one was made by a draft, before the first version
    :raises DatabaseUnavailable: if tables with these names belong to something else
    """
    from alembic import command  # noqa: F401 - or others would wait while it is imported

    pending = set().union(*(history.names_in_pending(connection) for history in histories))
    change_tables(connection, histories, partial(_upgrade, histories), names=pending)


def change_tables(
    connection: Connection,
    histories: Sequence[History],
    change: Callable[[Connection], None],
    *,
    names: Container[str],
) -> None:
    """Lock the tables of these histories that have one of these names, and change the schema.

    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    """
    if connection.dialect.name != "postgresql":  # a writer is alone
        change(connection)
        return
    locked = [each for each in _in_order(connection, histories) if each in names]
    before = connection.scalar(text("SHOW lock_timeout"))
    for number, seconds in enumerate(WAITS, 1):
        try:
            with connection.begin_nested():
                _set_lock_timeout(connection, f"{seconds * 1000:.0f}ms")
                if locked:  # in the order of writers, in case they wait for another one
                    _lock(connection, locked if number % 2 else locked[::-1])
                change(connection)
            break
        except DBAPIError as error:
            if number == len(WAITS) or _sqlstate(error) not in (LOCK_NOT_AVAILABLE, DEADLOCK):
                raise
        connection.execute(select(func.pg_sleep(seconds * PAUSE)))
    _set_lock_timeout(connection, before)


def _upgrade(histories: Sequence[History], connection: Connection) -> None:
    for history in histories:
        history.upgrade(connection)


def _in_order(connection: Connection, histories: Sequence[History]) -> list[str]:
    """Return the existing tables in the order in which a unit of work writes to them.

    It writes to referenced tables first, and to the engine's last.
    """
    there = set(inspect(connection).get_table_names())
    ordered = [each.name for history in histories[::-1] for each in history.metadata.sorted_tables]
    return [name for name in ordered if name in there]


def _set_lock_timeout(connection: Connection, value: object) -> None:
    connection.execute(text("SELECT set_config('lock_timeout', :value, true)"), {"value": value})


def _lock(connection: Connection, names: Sequence[str]) -> None:
    quoted = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    connection.execute(text(f"LOCK TABLE {quoted}"))


def _sqlstate(error: DBAPIError) -> str | None:
    """Return the SQLSTATE of an error; each driver has its own place for it."""
    raised: Any = error.orig
    state: str | None = getattr(raised, "sqlstate", None) or getattr(raised, "pgcode", None)
    if state is None and raised.args and isinstance(raised.args[0], dict):
        return raised.args[0].get("C")  # pg8000
    return state
