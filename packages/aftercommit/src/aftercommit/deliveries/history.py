"""The migration history of the engine's own tables, and how these are dropped."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import Connection, Table
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.schema import DropTable

from aftercommit.database.migrations.history import History
from aftercommit.database.migrations.upgrade import change_tables
from aftercommit.deliveries.tables import FINISHED, deliveries
from aftercommit.errors import DeliveriesOutstanding, InvalidValue

FOLDER = Path(__file__).with_name("migrations")
ENGINE = History("aftercommit", deliveries.metadata, [FOLDER], "aftercommit_version")
PREFIX = f"{ENGINE.name}_"
_OUTSTANDING = sa.select(deliveries.c.handler, sa.func.count()).where(~FINISHED)
OUTSTANDING = _OUTSTANDING.group_by(deliveries.c.handler).order_by(deliveries.c.handler)
NOTHING_OUTSTANDING = f"""
DO $$ BEGIN
    LOCK TABLE {deliveries.name};
    IF EXISTS (SELECT 1 FROM {deliveries.name} WHERE completed_at IS NULL) THEN
        RAISE EXCEPTION 'deliveries are outstanding: let a worker run them, or discard them';
    END IF;
END $$
"""
TABLES = [*ENGINE.metadata.sorted_tables[::-1], Table(ENGINE.version_table, sa.MetaData())]


def of_application(name: str | None, kind: str, _: object) -> bool:
    """Tell whether a table does not belong to the engine: for Alembic's `include_name`.

    Without it, autogenerate would drop the engine's tables, which the application does not name.

    >>> from aftercommit.alembic import not_ours  # for context.configure(…, include_name=not_ours)
    >>> not_ours("orders", "table", {}), not_ours("aftercommit_events", "table", {})
    (True, False)
    """
    return kind != "table" or not str(name).startswith(PREFIX)


def drop_tables(connection: Connection) -> None:
    """Drop the existing tables, in the transaction of the connection.

    :raises DeliveriesOutstanding: if some deliveries are neither done nor discarded
    :raises sqlalchemy.exc.DBAPIError: if a table stays locked for half a minute
    """
    there = {*sa.inspect(connection).get_table_names()}

    def drop(connection: Connection) -> None:
        if deliveries.name in there:
            # on SQLite, nobody else writes after this
            connection.execute(sa.delete(deliveries).where(sa.false()))
            if found := connection.execute(OUTSTANDING).all():
                raise DeliveriesOutstanding(dict(map(tuple, found)))
        for table in TABLES:
            if table.name in there:
                connection.execute(DropTable(table))

    change_tables(connection, [ENGINE], drop, names=there)


def print_drop(connection: MockConnection) -> None:
    """Write a script that does the same.

    :raises InvalidValue: for SQLite, where a script cannot refuse
    """
    if connection.dialect.name != "postgresql":
        problem = "cannot be written as a script for SQLite, which could not check for deliveries"
        raise InvalidValue("downgrade_tables", f"{problem}; run it without --sql")
    connection.execute(sa.text(NOTHING_OUTSTANDING))
    for table in TABLES:
        connection.execute(DropTable(table))
