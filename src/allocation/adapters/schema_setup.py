"""The schema of the database: checked at start, created on first use, upgraded by hand."""

from allocation.adapters.database import Database
from allocation.adapters.exceptions import SchemaOutdated
from allocation.adapters.migrations import revisions


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.read_transaction() as transaction:
        stored = await transaction.run_sync(revisions.stored_revision)
    if stored is None:
        await upgrade_schema(database)
    elif stored != revisions.revisions()[-1]:
        raise SchemaOutdated(stored, database.application)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revision, in one transaction; others wait meanwhile.

    :raises Unavailable: if the database cannot store all that people are called
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.write_transaction(no_timeout=True) as transaction:
        await transaction.run_sync(database.backend.prepare_upgrade)
        await transaction.run_sync(revisions.upgrade)
        await transaction.commit()
