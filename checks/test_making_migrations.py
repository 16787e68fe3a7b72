"""A migration is made of the tables, says what it cannot know, and only adds.

Processes of the version before work on, while and after it runs: expand, then contract.
"""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from aftercommit import History, UtcDateTime
from aftercommit.deliveries.history import ENGINE
from aftercommit.project import migration
from alembic.autogenerate import compare_metadata
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    false,
    inspect,
    true,
)

from allocation.adapters.migrations import HISTORY
from checks.next_version import LATER

FIRST = {"aftercommit_1000", "allocation_1000"}  # what is later must leave them in use
ONLY_ADD = {"add_column", "bulk_insert", "create_index", "create_table", "execute", "get_bind"}
HISTORIES = pytest.mark.parametrize("history", [ENGINE, HISTORY], ids=lambda each: each.name)


def with_columns(history: History, table: str, *columns: Column[object]) -> History:
    """Return a history whose tables have more columns than its migrations make."""
    tables = MetaData(naming_convention=history.metadata.naming_convention)
    for each in history.metadata.tables.values():
        each.to_metadata(tables)
    for column in columns:
        tables.tables[table].append_column(column)
    return replace(history, metadata=tables)


def taken_away(source: str) -> set[str]:
    """Return which of Alembic's operations a migration uses that do more than add."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {
        called.attr
        for called in calls
        if isinstance(called, ast.Attribute)
        and isinstance(called.value, ast.Name)
        and called.value.id in {"op", "batch"}
    } - {*ONLY_ADD, "f"}  # which marks a name


def test_a_migration_only_adds() -> None:
    """What takes something away, when nobody needs it any longer, will be named here."""
    folders = [folder for history in LATER for folder in history.folders]
    files = [file for folder in folders for file in folder.glob("*_*.py")]
    later = [
        file for file in files if not file.name.startswith(tuple(f"{each}_" for each in FIRST))
    ]

    assert len(later) == len(files) - len(FIRST) > 0
    assert [file.name for file in later if taken_away(file.read_text())] == []
    assert taken_away("def upgrade(): op.drop_column('users', 'name')") == {"drop_column"}


def test_a_migration_is_called_after_the_newest_and_made_of_the_tables(tmp_path: Path) -> None:
    """Nothing in it is left to be formatted, and every database understands it."""
    history = with_columns(
        ENGINE,
        "aftercommit_events",
        Column("bright", Boolean, nullable=False, server_default=true()),
        Column("dim", Boolean, nullable=False, server_default=false()),
        Column("seen_at", UtcDateTime),
    )

    file = migration.make("Events can shine.", history, tmp_path)

    newest = ENGINE.newest
    following = f"aftercommit_{int(newest.removeprefix('aftercommit_')[:4]) + 1:04}"
    assert file == tmp_path / f"{following}_events_can_shine.py"
    assert (
        file.read_text()
        == f'''"""Events can shine."""

import sqlalchemy as sa
from alembic import op

revision = "{following}"
down_revision = "{newest}"


def upgrade() -> None:
    op.add_column(
        "aftercommit_events",
        sa.Column("bright", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    op.add_column(
        "aftercommit_events",
        sa.Column("dim", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column(
        "aftercommit_events", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True)
    )
'''
    )


def test_the_first_migration_makes_all_tables(tmp_path: Path) -> None:
    """Anyone who has deleted the example, and its migration, has an empty folder, or none."""
    folder = tmp_path / "versions"
    first = replace(HISTORY, folders=[folder])
    file = migration.make("The first tables", first)
    assert file is not None
    assert file.name == "allocation_0001_the_first_tables.py"
    assert "down_revision = None" in file.read_text()

    assert migration.make("Nothing", first) is None
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.connect() as connection:
        first.upgrade(connection)
        assert HISTORY.metadata.tables.keys() <= {*inspect(connection).get_table_names()}
    engine.dispose()


def test_a_default_that_is_empty_is_migrated_once(tmp_path: Path) -> None:
    """Alembic reads it from SQLite in another spelling; each migration would change it again."""
    empty = with_columns(HISTORY, "users", Column("note", String, server_default=""))
    file = migration.make("Users have a note", empty, tmp_path)
    assert file is not None
    assert 'server_default=""' in file.read_text()
    migrated = replace(empty, folders=[*empty.folders, tmp_path])

    assert migration.make("Nothing", migrated) is None

    other = with_columns(HISTORY, "users", Column("note", String, server_default="none"))
    changed = replace(other, folders=[*other.folders, tmp_path])
    file = migration.make("Another default", changed)
    assert file is not None
    assert 'server_default="none"' in file.read_text()


def test_a_migration_that_was_made_of_new_tables_only_adds(tmp_path: Path) -> None:
    """What `make migration` writes is committed as it is, constraints and indexes with it."""
    history = with_columns(HISTORY, "users")
    Table(
        "colours",
        history.metadata,
        Column("name", String, primary_key=True),
        Column("user_id", ForeignKey("users.id"), index=True),
        Column("depth", Integer, CheckConstraint("depth > 0", name="depth"), unique=True),
    )

    file = migration.make("Users have colours", history, tmp_path)

    assert file is not None
    assert taken_away(file.read_text()) == set()


def test_a_column_that_the_rows_could_not_have_is_refused() -> None:
    """On the empty tables of a test it would work."""
    history = with_columns(
        HISTORY, "users", Column("colour", String, nullable=False), Column("seen_at", DateTime)
    )

    [sentence] = migration.impossible(history)

    assert sentence.startswith("users.colour must not be NULL, and has no server_default")


@HISTORIES
def test_only_the_tables_of_the_other_history_are_not_looked_at(history: History) -> None:
    """In a database that has both, one would be dropped; one of its own is, when it is to go."""
    ours = with_columns(history, next(iter(history.metadata.tables)))
    gone = ours.metadata.sorted_tables[-1]
    ours.metadata.remove(gone)
    engine = create_engine("sqlite://")

    with engine.connect() as connection:
        for each in (ENGINE, HISTORY):
            each.upgrade(connection)
        found = compare_metadata(migration.comparing(connection, history), ours.metadata)
    engine.dispose()

    assert {(kind, of.name) for kind, of in found if kind == "remove_table"} == {
        ("remove_table", gone.name)
    }
