"""Helps an application's migrations: one line in its `env.py`, and one in a migration.

    context.configure(…, include_name=not_ours)

Without that line, `--autogenerate` would drop our tables, because the models do not name them. The
tables are created by `aftercommit db upgrade MODULE:OUTBOX`, or in a migration of the application:

    def upgrade() -> None:
        upgrade_tables(op.get_bind())
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context, op
from sqlalchemy import Connection
from sqlalchemy.engine.mock import MockConnection

from aftercommit.database.migrations.upgrade import upgrade_histories
from aftercommit.deliveries.history import ENGINE, drop_tables, print_drop
from aftercommit.deliveries.history import of_application as not_ours

__all__ = ["downgrade_tables", "not_ours", "upgrade_tables"]

WRITTEN = "aftercommit_tables"  # in the options of Alembic's context


def upgrade_tables(connection: Connection, *, since: str | None = None) -> None:
    """Upgrade our tables to the newest revision, in the transaction of the connection.

    Statements after it, in the same migration and in later ones, run as usual, and other sessions
    can work meanwhile. On PostgreSQL, it releases its own locks while it waits for another one, and
    tries again; it cannot release what the migration has locked before.

    `alembic upgrade --sql` writes the statements, once in a script. A script cannot look at the
    database, so say with `since` which revision the tables have, such as "aftercommit_1000": it is
    stored in the table `aftercommit_version`. Without `since`, the script creates the tables. Its
    statements wait for locks like all others.

    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises SchemaTooNew: if a newer version of this package has made them
    :raises SchemaTooOld: if a draft has made them, before the first version

    >>> import sqlalchemy as sa
    >>> from aftercommit.alembic import upgrade_tables
    >>> with sa.create_engine("sqlite:///shop.db", poolclass=sa.NullPool).begin() as connection:
    ...     upgrade_tables(connection)  # in a migration: op.get_bind()
    ...     sa.inspect(connection).has_table("aftercommit_events")
    True
    """
    if isinstance(connection, MockConnection):
        script = op.get_context()
        if not script.opts.get(WRITTEN):
            with _inner():
                ENGINE.print_upgrade(script.output_buffer, connection.dialect.name, since)
            script.opts[WRITTEN] = True
    else:
        with _inner():
            upgrade_histories(connection, [ENGINE])


def downgrade_tables(connection: Connection) -> None:
    """Drop our tables, with all events and the history of their deliveries.

    Stop the workers first. It refuses to while deliveries are outstanding. The script that `alembic
    downgrade --sql` writes refuses, too; on SQLite a script cannot refuse, so none is written.

    :raises DeliveriesOutstanding: if some deliveries are neither done nor discarded
    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises InvalidValue: if a script is to be written for SQLite

    >>> import sqlalchemy as sa
    >>> from aftercommit.alembic import downgrade_tables, upgrade_tables
    >>> with sa.create_engine("sqlite:///shop.db", poolclass=sa.NullPool).begin() as connection:
    ...     upgrade_tables(connection)  # in a migration: op.get_bind()
    ...     downgrade_tables(connection)
    ...     sa.inspect(connection).has_table("aftercommit_events")
    False
    """
    if isinstance(connection, MockConnection):
        print_drop(connection)
    else:
        drop_tables(connection)


@contextmanager
def _inner() -> Iterator[None]:
    """Let Alembic run inside Alembic."""
    outer = [proxy for module in (context, op) if (proxy := vars(module).get("_proxy"))]
    try:
        yield
    finally:
        for proxy in outer:  # Alembic removes what it had set up for the migration around this one,
            proxy._install_proxy()  # and has no public way to restore it
