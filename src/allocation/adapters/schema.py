"""The schema of the database: checked at start, created on first use, upgraded by hand.

Alembic costs a third of a second to import, so it is imported only when there is something to do.
"""

from importlib.resources import files
from typing import TYPE_CHECKING

from sqlalchemy import ColumnClause, Connection, column, inspect, select, table

from allocation.adapters.database import Database, Session
from allocation.domain.exceptions import DatabaseUnavailable, SchemaOutdated, SchemaTooNew

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0003"  # the newest revision in migrations/versions; a test proves it

_REVISION: ColumnClause[str] = column("version_num")
_ALEMBIC_VERSION = table("alembic_version", _REVISION)


async def ensure_schema(database: Database) -> None:
    """Create the schema in an empty database; otherwise check that it is the current one.

    :raises SchemaOutdated: if it has to be upgraded first
    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.reading() as session:
        revision = await _revision(session)
    if revision is None:
        await upgrade_schema(database)
    elif revision != HEAD:
        raise _mismatch(revision)


async def upgrade_schema(database: Database) -> None:
    """Bring the schema to the newest revision, in one transaction; others wait meanwhile.

    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    async with database.writing() as session:
        await session.lock_schema()
        revision = await _revision(session)
        if revision is not None and not _is_known(revision):
            raise SchemaTooNew(revision)
        await session.run_sync(_upgrade)
        await session.commit()


async def _revision(session: Session) -> str | None:
    """Return the revision of the schema; None if the database is empty."""
    tables = await session.run_sync(lambda connection: inspect(connection).get_table_names())
    if not tables:
        return None
    if _ALEMBIC_VERSION.name not in tables:
        raise DatabaseUnavailable("it holds tables of something else")
    revisions = await session.execute(select(_REVISION).select_from(_ALEMBIC_VERSION))
    return ", ".join(revision for (revision,) in revisions)


def _mismatch(revision: str) -> SchemaOutdated | SchemaTooNew:
    return SchemaOutdated(revision) if _is_known(revision) else SchemaTooNew(revision)


def _is_known(revision: str) -> bool:
    from alembic.script import ScriptDirectory

    known = ScriptDirectory.from_config(_config()).walk_revisions()
    return revision in {script.revision for script in known}


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("allocation.adapters") / "migrations"))
    return config
