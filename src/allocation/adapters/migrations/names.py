"""The names of our revisions, also those of before, which other projects use as well."""

from sqlalchemy import Connection, column, inspect, select, table, update

from allocation.adapters.exceptions import DatabaseUnavailable

PREFIX = "allocation_"
OLD_NAMES = {"0001": "allocation_0001", "0002": "allocation_0002"}
DELIVERY = {"event_id", "handler", "attempts", "token", "due_at"}  # columns: a table only we have

_ALEMBIC_VERSION = table("alembic_version", column("version_num"))


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of the schema as it is stored; None if the database is empty.

    :raises DatabaseUnavailable: if the database belongs to something else
    """
    inspector = inspect(connection)
    tables = inspector.get_table_names()
    if not tables:
        return None
    revision = ""
    if _ALEMBIC_VERSION.name in tables:
        revision = ", ".join(connection.execute(select(_ALEMBIC_VERSION)).scalars())
    if revision.startswith(PREFIX):
        return revision
    columns = inspector.get_columns("deliveries") if "deliveries" in tables else ()
    if revision in OLD_NAMES and {column["name"] for column in columns} >= DELIVERY:
        return revision
    raise DatabaseUnavailable("it holds tables of something else")


def give_present_name(connection: Connection) -> None:
    """Store the present name of the revision, if it has the one of before."""
    if present := OLD_NAMES.get(stored_revision(connection) or ""):
        connection.execute(update(_ALEMBIC_VERSION).values(version_num=present))
