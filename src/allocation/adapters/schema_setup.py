"""The schema of the database: checked at start, created on first use, upgraded by hand."""

from functools import partial

from sqlalchemy import Connection, inspect

from allocation.adapters.database import Database
from allocation.adapters.exceptions import SchemaOutdated


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.read_transaction() as transaction:
        is_empty = await transaction.run_sync(partial(_check, database))
    if is_empty:
        await upgrade_schema(database)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revisions, in one transaction; others wait meanwhile.

    :raises Unavailable: if the database cannot store all that people are called
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.write_transaction(no_timeout=True) as transaction:
        await transaction.run_sync(partial(_upgrade, database))
        await transaction.commit()


def _check(database: Database, connection: Connection) -> bool:
    """Return whether the database is empty; otherwise its schema is as it has to be."""
    if not inspect(connection).get_table_names():  # first, as others may create the tables now
        return True
    for history in database.histories:
        stored = history.stored_revision(connection)
        if stored != history.newest:
            raise SchemaOutdated(history.name, stored, database.application)
    return False


def _upgrade(database: Database, connection: Connection) -> None:
    database.backend.prepare_upgrade(connection, database.histories)
    for history in database.histories:
        history.upgrade(connection)
