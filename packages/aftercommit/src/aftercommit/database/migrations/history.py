"""The migration histories in a schema: one of the engine, and one of the application.

Each knows its own tables and its own version table, and leaves all others alone. Importing Alembic
takes a third of a second, so it is imported only when there is something to do.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, MetaData, column, inspect, select, table

from aftercommit.database.exceptions import DatabaseUnavailable, SchemaTooNew, SchemaTooOld
from aftercommit.errors import InvalidValue

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent
EMPTIED = (
    "{} was emptied: empty no table whose name begins with aftercommit_; to start over, drop all"
)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """The migrations of some tables, and the table that stores which of them were applied.

    Its revisions are called NAME_0001, NAME_0002 and so on, and so do the names of their files. Two
    more digits, as in NAME_000201, mean that programs that know only NAME_0002 still work.

    >>> from pathlib import Path
    >>> from aftercommit import History
    >>> from shop.adapters import orm
    >>> history = History("shop", orm.metadata, [Path(orm.__file__).with_name("migrations")])
    >>> history.revisions()
    ['shop_0001']
    """

    name: str
    metadata: MetaData
    folders: list[Path]
    version_table: str = "alembic_version"

    def revisions(self) -> list[str]:
        """Return the names of all revisions, oldest first."""
        return sorted(self._files())

    def _files(self) -> dict[str, Path]:
        """Return the file of each revision."""
        files = (file for folder in self.folders for file in folder.glob("*"))
        names = ((re.match(rf"{self.name}_\d+", file.name), file) for file in files)
        return {name[0]: file for name, file in names if name}

    @property
    def newest(self) -> str:
        """The revision that this program needs; empty if there are no migrations."""
        return max(self.revisions(), default="")

    def stored_revision(self, connection: Connection) -> str | None:
        """Return the stored revision of these tables; None if they do not exist yet.

        It may be later than the newest one here, if its name allows this program to work.

        :raises SchemaTooNew: if it was made by a newer version of this program
        :raises SchemaTooOld: if it was made before the first of these migrations
        :raises DatabaseUnavailable: if tables with these names belong to something else
        """
        inspector = inspect(connection)
        if inspector.has_table(self.version_table):
            stored = connection.scalars(select(table(self.version_table, column("version_num"))))
            revision, size = ", ".join(stored), len(f"{self.name}_0000")
            if revision in self.revisions() or revision[:size] == self.newest[:size]:
                return revision
            if not revision:
                raise DatabaseUnavailable(EMPTIED.format(self.version_table))
            if re.fullmatch(rf"{self.name}_\d+", revision):
                if revision < (first := min(self.revisions(), default="")):
                    raise SchemaTooOld(self.name, revision, first)
                raise SchemaTooNew(self.name, revision)
        elif self.metadata.tables.keys().isdisjoint(inspector.get_table_names()):
            return None
        raise DatabaseUnavailable("it contains tables of another program with these names")

    def names_in_pending(self, connection: Connection) -> set[str]:
        """Return the words in the files of pending revisions; names of tables may be among them."""
        stored = self.stored_revision(connection) or ""
        pending = (file for revision, file in self._files().items() if revision > stored)
        return {word for file in pending for word in re.findall(r"\w+", file.read_text("utf-8"))}

    def upgrade(self, connection: Connection, revision: str = "head") -> None:
        """Upgrade the tables to a revision, unless theirs is later; for errors see above."""
        from alembic import command

        if (self.stored_revision(connection) or "") > self.newest:
            return
        command.upgrade(self.config(connection=connection), revision)

    def print_upgrade(self, output: Any, dialect: str, since: str | None) -> None:
        """Write the statements that upgrade tables from a revision, or create them.

        :raises InvalidValue: if there is no such revision
        """
        from alembic import command

        if since and since not in self.revisions():
            raise InvalidValue("since", f"is none of the revisions {', '.join(self.revisions())}")
        settings = self.config(dialect_name=dialect, output_buffer=output, literal_binds=True)
        command.upgrade(settings, f"{since}:head" if since else "head", sql=True)

    def config(self, **attributes: object) -> "Config":
        """Return Alembic's configuration, with what `env.py` reads there."""
        from alembic.config import Config

        settings = Config()
        settings.attributes |= {"version_table": self.version_table} | attributes
        settings.set_main_option("script_location", str(FOLDER))
        settings.set_main_option("path_separator", "os")
        settings.set_main_option("version_locations", os.pathsep.join(map(str, self.folders)))
        return settings


def lacking(connection: Connection, histories: Iterable[History]) -> list[str]:
    """Return the columns that the program knows and no migration has made."""
    tables = [table for each in histories for table in each.metadata.tables.values()]
    found = inspect(connection).get_multi_columns(filter_names=[table.name for table in tables])
    made = {f"{table}.{each['name']}" for (_, table), all_ in found.items() for each in all_}
    return [str(each) for table in tables for each in table.columns if str(each) not in made]
