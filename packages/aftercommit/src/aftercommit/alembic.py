"""For the migrations of an application: one line in its `env.py`, and one in a migration.

    context.configure(…, include_name=not_ours)

Without it, `--autogenerate` would drop our tables, which the models do not name. The tables come by
`aftercommit db upgrade MODULE:OUTBOX`, or in a migration of the application:

    def upgrade() -> None:
        upgrade_tables(op.get_bind())

    def downgrade() -> None:
        downgrade_tables(op.get_bind())
"""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context, op
from sqlalchemy import Connection
from sqlalchemy.engine.mock import MockConnection

from aftercommit.sql.migrations.drop_tables import drop_tables, print_drop
from aftercommit.sql.migrations.history import ENGINE
from aftercommit.sql.migrations.history import of_application as not_ours
from aftercommit.sql.migrations.upgrade import upgrade_histories

__all__ = ["downgrade_tables", "not_ours", "upgrade_tables"]

WRITTEN = "aftercommit_tables"  # in the options of Alembic's context


def upgrade_tables(connection: Connection, *, since: str | None = None) -> None:
    """Bring our tables to the newest revision, in the transaction of the connection.

    What stands after it in the same migration, and in later ones, goes on as usual. Others may work
    meanwhile. On PostgreSQL, it lets go of its locks while it waits for one, and tries again; what
    the migration has locked before, it cannot let go.

    `alembic upgrade --sql` writes the statements, once in a script. They make the tables, or else
    upgrade those of the revision `since`, such as "aftercommit_0002": it is that in the table
    `aftercommit_version`, where a script cannot look. They wait for locks as all others do.

    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises SchemaTooNew: if a newer version of this package has made them

    >>> import sqlalchemy as sa
    >>> from aftercommit.alembic import upgrade_tables
    >>> with sa.create_engine("sqlite:///shop.db").begin() as connection:  # op.get_bind()
    ...     upgrade_tables(connection)
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

    It refuses to while deliveries are outstanding. Stop the workers before. `alembic downgrade
    --sql` writes a script that refuses it, too; on SQLite a script cannot, so there is none.

    :raises DeliveriesOutstanding: if some deliveries are neither done nor discarded
    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises InvalidValue: for a script on SQLite

    >>> import sqlalchemy as sa
    >>> from aftercommit.alembic import downgrade_tables, upgrade_tables
    >>> with sa.create_engine("sqlite:///shop.db").begin() as connection:  # op.get_bind()
    ...     upgrade_tables(connection)
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
    """Let Alembic run within Alembic."""
    outer = [proxy for module in (context, op) if (proxy := vars(module).get("_proxy"))]
    try:
        yield
    finally:
        for proxy in outer:  # Alembic takes away what it had set up for the migration around this,
            proxy._install_proxy()  # and has no public way to bring that back
