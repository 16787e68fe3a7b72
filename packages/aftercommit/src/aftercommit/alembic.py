"""For the migrations of an application: one line in its `env.py`, and one in a migration.

    context.configure(…, include_name=not_ours)

Without it, `--autogenerate` would drop our tables, which the models do not name. The tables come by
`aftercommit db upgrade MODULE:OUTBOX`, or in a migration of the application:

    def upgrade() -> None:
        upgrade_tables(op.get_bind())
"""

from alembic import context, op
from sqlalchemy import Connection

from aftercommit.sql.migrations.history import ENGINE
from aftercommit.sql.migrations.history import of_application as not_ours
from aftercommit.sql.migrations.upgrade import upgrade_histories

__all__ = ["not_ours", "upgrade_tables"]


def upgrade_tables(connection: Connection) -> None:
    """Bring our tables to the newest revision, in the transaction of the connection.

    What stands after it in the same migration, and in later ones, goes on as usual. Others may work
    meanwhile. On PostgreSQL, it lets go of its locks while it waits for one, and tries again; what
    the migration has locked before, it cannot let go.

    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    :raises SchemaTooNew: if a newer version of this package has made them

    >>> import sqlalchemy as sa
    >>> from aftercommit.alembic import upgrade_tables
    >>> with sa.create_engine("sqlite:///shop.db").begin() as connection:  # op.get_bind()
    ...     upgrade_tables(connection)
    ...     sa.inspect(connection).has_table("aftercommit_events")
    True
    """
    outer = [proxy for module in (context, op) if (proxy := vars(module).get("_proxy"))]
    try:
        upgrade_histories(connection, [ENGINE])
    finally:
        for proxy in outer:  # Alembic takes away what it had set up for the migration around this,
            proxy._install_proxy()  # and has no public way to bring that back
