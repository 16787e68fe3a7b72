"""Makes a migration for the differences between the tables and the existing migrations.

    python -m aftercommit.project.migration shop.adapters.orm:HISTORY "Orders have a colour"

A new SQLite file is upgraded to the newest revision and compared with the tables of the history. A
change that SQLite cannot make in place, such as a unique constraint, becomes `batch_alter_table`:
on SQLite it rebuilds the table, with its rows, and on PostgreSQL it is plain ALTER TABLE.
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

import click
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations.ops import (
    AddColumnOp,
    CreateIndexOp,
    DropIndexOp,
    ModifyTableOps,
    UpgradeOps,
)
from sqlalchemy import Connection, DefaultClause, TypeDecorator, create_engine
from sqlalchemy.sql.elements import False_, True_

from aftercommit.database.migrations.history import History
from aftercommit.deliveries.history import ENGINE, of_application
from aftercommit.process.parts import resolve

IN_PLACE = (AddColumnOp, CreateIndexOp, DropIndexOp)
"""What SQLite can do to an existing table."""

EMPTY = {"", "''", "('')"}
"""How Alembic writes a default that is an empty text."""

CHECK = """\
Review it. It was made from the tables, without regard to
- rows: new columns may have to be filled in; a renamed column is dropped with its values;
  rows that break a new rule stop the upgrade, and nothing is changed;
- PostgreSQL: it was made on SQLite, and both have to understand its types and defaults;
- CHECK constraints and triggers: SQLite loses them where batch_alter_table rebuilds their table,
  unless the migration makes them again;
- the condition of an index: a change of it is not seen; give the index another name, too;
- old processes, which go on for a while: they neither fill nor reset a new column,
  and what a new rule refuses is an unknown error to them."""

NOTHING = """\
nothing to migrate: the migrations of {name} make what its tables have. If only the condition of
an index has changed, as in sqlite_where: that is not seen, so give the index another name"""

TEMPLATE = '''"""{sentence}."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before}


def upgrade() -> None:
    {code}
'''


def make(name: str, history: History, folder: Path | None = None) -> Path | None:
    """Write the next migration into a folder, and return it; None if there is nothing to migrate.

    Its number follows that of the newest migration, if there is one; the rest of its name comes
    from `name`.
    """
    with _migrated(history) as context:
        upgrade = _missing(context, history)
        if upgrade.is_empty():
            return None
        text = _text(name, upgrade, context, history)
    folder = folder or history.folders[-1]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{_next_revision(history)}_{_slug(name)}.py"
    file.write_text(_formatted(text), encoding="utf-8")
    return file


def _missing(context: MigrationContext, history: History) -> UpgradeOps:
    """Return what the tables have and the database lacks.

    Indexes get the options of PostgreSQL from the tables' `info`: real options would import that
    dialect in every process with a SQLite file.
    """
    tables = history.metadata
    for index in (index for table in tables.tables.values() for index in table.indexes):
        if "postgresql_where" in index.info:
            index.dialect_options["postgresql"]["where"] = index.info["postgresql_where"]
    upgrade = produce_migrations(context, tables).upgrade_ops
    assert upgrade is not None
    return upgrade


def impossible(history: History) -> list[str]:
    """Return a sentence for each new column that existing rows cannot have."""
    with _migrated(history) as context:
        found = _missing(context, history).as_diffs()
    return [
        f"{table}.{column.name} must not be NULL, and has no server_default for existing"
        " rows: give it one; or, if the migration that makes the table is not committed"
        " yet, delete that one; then make this one again"
        for kind, _, table, column in (each for each in found if each[0] == "add_column")
        if not column.nullable and column.server_default is None
    ]


@contextmanager
def _migrated(history: History) -> Iterator[MigrationContext]:
    """Open a new database at the newest revision of one history."""
    with TemporaryDirectory(prefix="aftercommit-migration-") as folder:
        engine = create_engine(f"sqlite:///{folder}/new.db")
        with engine.connect() as connection:
            history.upgrade(connection)
            yield comparing(connection, history)
        engine.dispose()


def comparing(connection: Connection, history: History) -> MigrationContext:
    """Return how to compare a database with the tables of one history; it may have others, too."""

    def is_its_own(name: str | None, kind: str, parents: object) -> bool:
        is_of_application = of_application(name, kind, parents)
        return kind != "table" or is_of_application is (history.name != ENGINE.name)

    return MigrationContext.configure(
        connection,
        opts={
            "compare_server_default": _has_another_default,
            "include_name": is_its_own,
            "version_table": history.version_table,
        },
    )


def _has_another_default(
    context: MigrationContext,
    inspected_column: object,
    column: object,
    inspected: str | None,
    default: object,
    rendered: str | None,
) -> bool | None:
    """Return False if both are empty texts, which Alembic takes for different on SQLite."""
    return False if {inspected, rendered} <= EMPTY else None


def _text(name: str, upgrade: UpgradeOps, context: MigrationContext, history: History) -> str:
    code = render_python_code(
        upgrade,
        render_as_batch=not _is_in_place(upgrade),
        render_item=_portable,
        migration_context=context,
    )
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return TEMPLATE.format(
        sentence=name.rstrip("."),
        revision=_next_revision(history),
        before=f'"{history.newest}"' if history.newest else None,
        code="\n".join(lines).strip(),
    )


def _is_in_place(upgrade: UpgradeOps) -> bool:
    changed = [each for each in upgrade.ops if isinstance(each, ModifyTableOps)]
    return all(isinstance(op, IN_PLACE) for each in changed for op in each.ops)


def _formatted(text: str) -> str:
    ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "-"]
    run = subprocess.run(ruff, input=text, check=True, capture_output=True, text=True)
    return run.stdout


def _portable(kind: str, item: object, context: object) -> str | Literal[False]:
    """Render our types, or SQLite's, as every database understands them."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    default = item.arg if kind == "server_default" and isinstance(item, DefaultClause) else None
    return f"sa.{default}()" if isinstance(default, True_ | False_) else False


def _next_revision(history: History) -> str:
    number = history.newest.removeprefix(f"{history.name}_")[:4] or "0"
    return f"{history.name}_{int(number) + 1:04}"


def _slug(name: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))


def main(history: History, name: str) -> str | None:
    """Make a migration, and print what to check; return why none was made."""
    if not _slug(name):
        return 'describe the change: make migration NAME="Orders have a colour"'
    if problems := impossible(history):
        return "\n".join(["nothing is written:", *problems])
    if (file := make(name, history)) is None:
        return NOTHING.format(name=history.name)
    click.echo(f"written: {os.path.relpath(file)}\n\n{CHECK}")
    return None


if __name__ == "__main__":
    sys.exit(main(resolve(sys.argv[1]), " ".join(sys.argv[2:])))
