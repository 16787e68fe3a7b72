"""The schema of the database: checked at start, created on first use, upgraded by hand.

Alembic costs a third of a second to import, so it is imported only when there is something to do.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import SchemaOutdated, SchemaTooNew
from allocation.adapters.migrations.names import (
    OLD_NAMES,
    PREFIX,
    give_present_name,
    stored_revision,
)

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).with_name("migrations")


def revisions() -> list[str]:
    """Return the names of all migrations, the oldest first; their files are called after them."""
    files = (MIGRATIONS / "versions").glob(f"{PREFIX}*.py")
    return sorted("_".join(file.name.split("_")[:2]) for file in files)


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.reading() as session:
        stored = await _known_revision(session)
    if stored is None:
        await upgrade_schema(database)
    elif stored != revisions()[-1]:
        raise SchemaOutdated(stored)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revision, in one transaction; others wait meanwhile.

    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.writing(takes_time=True) as session:
        await session.execute_if_needed(database.kind.lock_schema)
        await _known_revision(session)
        await session.run_sync(_upgrade)
        await session.commit()


async def _known_revision(session: Session) -> str | None:
    stored = await session.run_sync(stored_revision)
    if stored and stored not in (*OLD_NAMES, *revisions()):
        raise SchemaTooNew(stored)
    return stored


def _upgrade(connection: Connection) -> None:
    from alembic import command

    give_present_name(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
