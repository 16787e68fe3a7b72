"""Makes a migration of what the tables have, and the migrations do not make yet.

    make migration NAME="Users can be deactivated"

A fresh SQLite file is brought to the newest revision and compared with `adapters/orm.py`; with
OF=aftercommit, it is the engine's history and `sql/tables.py` of the engine.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from aftercommit.sql.migrations.history import ENGINE, History, of_application
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import UpgradeOps
from sqlalchemy import Connection, DefaultClause, TypeDecorator, create_engine
from sqlalchemy.sql.elements import False_, True_

from allocation.adapters.migrations import HISTORY
from tools.repository import ROOT

TABLES = {
    ENGINE.name: "packages/aftercommit/src/aftercommit/sql/tables.py",
    HISTORY.name: "src/allocation/adapters/orm.py",
}

CHECK = """\
Look at it by hand. It knows the tables, and nothing of
- rows: what is new may have to be filled in; what was renamed is dropped, with all that is in it;
- PostgreSQL: it was made on SQLite, and both have to understand its types and defaults;
- SQLite: which adds columns, and cannot change those that are there;
- old processes, which work on for a while: what a new column says, they neither fill nor reset
  (docs/changes.md, "Split a table"); "allocation rebuild-users" when they have ended.
tests/integration/test_schema.py upgrades both databases from every revision, with rows in them."""

TEMPLATE = '''"""{sentence}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    {code}
'''


def make(name: str, history: History = HISTORY, folder: Path | None = None) -> Path | None:
    """Write the next migration into a folder, and return it; None if there is nothing to migrate.

    It is called after the newest one, whose number it continues, and after its name.
    """
    with _migrated(history) as context:
        upgrade = _missing(context, history)
        if upgrade.is_empty():
            return None
        text = _text(name, upgrade, context, history)
    file = (folder or history.folders[-1]) / f"{_next_revision(history)}_{_slug(name)}.py"
    file.write_text(_formatted(text), encoding="utf-8")
    return file


def _missing(context: MigrationContext, history: History) -> UpgradeOps:
    """Return what the tables have, and the database does not.

    Indexes get the option of PostgreSQL that the tables keep in `info`: an option of theirs would
    import that dialect, in every process that has a SQLite file.
    """
    tables = history.metadata
    for index in (index for table in tables.tables.values() for index in table.indexes):
        if "postgresql_where" in index.info:
            index.dialect_options["postgresql"]["where"] = index.info["postgresql_where"]
    upgrade = produce_migrations(context, tables).upgrade_ops
    assert upgrade is not None
    return upgrade


def impossible(history: History = HISTORY) -> list[str]:
    """Return a sentence for each new column that no row could have which is there already."""
    with _migrated(history) as context:
        found = _missing(context, history).as_diffs()
    return [
        f"{table}.{column.name} must not be NULL, and has no server_default for the rows"
        f" that are there: give it one in {TABLES[history.name]}; or, if the migration that"
        " makes the table is not committed yet, delete that one; then make this anew"
        for kind, _, table, column in (each for each in found if each[0] == "add_column")
        if not column.nullable and column.server_default is None
    ]


@contextmanager
def _migrated(history: History) -> Iterator[MigrationContext]:
    """Open a new database at the newest revision of one history."""
    with TemporaryDirectory(prefix="allocation-migration-") as folder:
        engine = create_engine(f"sqlite:///{folder}/new.db")
        with engine.connect() as connection:
            history.upgrade(connection)
            yield comparing(connection, history)
        engine.dispose()


def comparing(connection: Connection, history: History) -> MigrationContext:
    """Return how a database is compared with the tables of one history; it may have others."""

    def is_its_own(name: str | None, kind: str, parents: object) -> bool:
        is_of_application = of_application(name, kind, parents)
        return kind != "table" or is_of_application is (history.name != ENGINE.name)

    return MigrationContext.configure(
        connection,
        opts={
            "compare_server_default": True,
            "include_name": is_its_own,
            "version_table": history.version_table,
        },
    )


def _text(name: str, upgrade: UpgradeOps, context: MigrationContext, history: History) -> str:
    code = render_python_code(upgrade, render_item=_portable, migration_context=context)
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return TEMPLATE.format(
        sentence=name.rstrip("."),
        revision=_next_revision(history),
        before=history.newest,
        code="\n".join(lines).strip(),
    )


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "-"]
    run = subprocess.run(ruff, input=text, cwd=ROOT, check=True, capture_output=True, text=True)
    return run.stdout


def _portable(kind: str, item: object, context: object) -> str | Literal[False]:
    """Render what is ours, or SQLite's, as every database understands it."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    default = item.arg if kind == "server_default" and isinstance(item, DefaultClause) else None
    return f"sa.{default}()" if isinstance(default, True_ | False_) else False


def _next_revision(history: History) -> str:
    prefix, _, number = history.newest.rpartition("_")
    return f"{prefix}_{int(number[:4]) + 1:04}"


def _slug(name: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))


def main(name: str, history: History = HISTORY, folder: Path | None = None) -> str | None:
    """Make a migration, and say what to look at; return why there is none."""
    if not _slug(name):
        return 'say what changes: make migration NAME="Users can be deactivated"'
    if problems := impossible(history):
        return "\n".join(["nothing is written:", *problems])
    if (file := make(name, history, folder)) is None:
        return f"nothing to migrate: the migrations make what is in {TABLES[history.name]}"
    print(f"written: {file.relative_to(ROOT)}\n\n{CHECK}")
    return None


if __name__ == "__main__":
    histories = {each.name: each for each in (ENGINE, HISTORY)}
    sys.exit(main(os.environ.get("NAME", ""), histories[os.environ.get("OF", HISTORY.name)]))
