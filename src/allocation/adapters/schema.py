"""The schema of the database: checked at start, created on first use, upgraded by hand."""

from allocation.adapters.database import Database
from allocation.adapters.exceptions import SchemaOutdated
from allocation.adapters.migrations import history


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.reading() as session:
        stored = await session.run_sync(history.stored_revision)
    if stored is None:
        await upgrade_schema(database)
    elif stored != history.revisions()[-1]:
        raise SchemaOutdated(stored)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revision, in one transaction; others wait meanwhile.

    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.writing(takes_time=True) as session:
        await session.execute_if_needed(database.kind.lock_schema)
        await session.run_sync(history.upgrade)
        await session.commit()
