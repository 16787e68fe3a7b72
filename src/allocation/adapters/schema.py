"""The schema of the database: checked at start, created on first use, upgraded by hand.

Alembic costs a third of a second to import, so it is imported only when there is something to do.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnClause, Connection, column, inspect, select, table, update

from allocation.adapters.database import Database, Session
from allocation.adapters.exceptions import DatabaseUnavailable, SchemaOutdated, SchemaTooNew

if TYPE_CHECKING:
    from alembic.config import Config

PREFIX = "allocation_"
OLD_NAMES = {"0001": "allocation_0001", "0002": "allocation_0002"}  # others use such names, too
DELIVERY = {"event_id", "handler", "attempts", "token", "due_at"}  # columns: a table only we have
MIGRATIONS = Path(__file__).with_name("migrations")

_REVISION: ColumnClause[str] = column("version_num")
_ALEMBIC_VERSION = table("alembic_version", _REVISION)


def revisions() -> list[str]:
    """Return the names of all migrations, the oldest first; their files are called after them."""
    names = (re.match(rf"{PREFIX}\d+", file.name) for file in (MIGRATIONS / "versions").iterdir())
    return sorted(name[0] for name in names if name)


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.reading() as session:
        stored = await _stored_revision(session)
    if stored is None:
        await upgrade_schema(database)
    elif (revision := OLD_NAMES.get(stored, stored)) != revisions()[-1]:
        raise SchemaOutdated(stored) if revision in revisions() else SchemaTooNew(stored)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revision, in one transaction; others wait meanwhile.

    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.writing() as session:
        await session.take_time()
        await session.lock_schema()
        stored = await _stored_revision(session)
        if stored in OLD_NAMES:
            await session.execute(update(_ALEMBIC_VERSION).values({_REVISION: OLD_NAMES[stored]}))
        elif stored is not None and stored not in revisions():
            raise SchemaTooNew(stored)
        await session.run_sync(_upgrade)
        await session.commit()


async def _stored_revision(session: Session) -> str | None:
    """Return the revision of the schema as it is stored; None if the database is empty."""
    tables = await session.run_sync(lambda connection: inspect(connection).get_table_names())
    if not tables:
        return None
    revision = ""
    if _ALEMBIC_VERSION.name in tables:
        rows = await session.execute(select(_REVISION).select_from(_ALEMBIC_VERSION))
        revision = ", ".join(name for (name,) in rows)
    if revision.startswith(PREFIX):
        return revision
    if revision in OLD_NAMES and await session.run_sync(_has_deliveries):
        return revision
    raise DatabaseUnavailable("it holds tables of something else")


def _has_deliveries(connection: Connection) -> bool:
    inspector = inspect(connection)
    if not inspector.has_table("deliveries"):
        return False
    return {column["name"] for column in inspector.get_columns("deliveries")} >= DELIVERY


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
