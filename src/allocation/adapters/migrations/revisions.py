"""The revisions of the schema: which there are, which is stored, and how to get to the newest.

Alembic costs a third of a second to import, so it is imported only when there is something to do.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, inspect, select, table

from allocation.adapters.exceptions import DatabaseUnavailable, SchemaTooNew

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent
PREFIX = "allocation_"

_ALEMBIC_VERSION = table("alembic_version", column("version_num"))


def revisions() -> list[str]:
    """Return the names of all migrations, the oldest first; their files are called after them."""
    names = (re.match(rf"{PREFIX}\d+", file.name) for file in (FOLDER / "versions").iterdir())
    return sorted(name[0] for name in names if name)


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of the schema as it is stored; None if the database is empty.

    :raises SchemaTooNew: if it was made by a newer version of this program
    :raises DatabaseUnavailable: if the database belongs to something else
    """
    inspector = inspect(connection)
    tables = inspector.get_table_names()
    if not tables:
        return None
    revision = ""
    if _ALEMBIC_VERSION.name in tables:
        revision = ", ".join(connection.execute(select(_ALEMBIC_VERSION)).scalars())
    if revision in revisions():
        return revision
    if revision.startswith(PREFIX):
        raise SchemaTooNew(revision)
    raise DatabaseUnavailable("it holds tables of something else")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to a revision, in the caller's transaction. For the errors, see above."""
    from alembic import command

    stored_revision(connection)
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


def config() -> "Config":
    """Return what Alembic has to know."""
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(FOLDER))
    return settings
