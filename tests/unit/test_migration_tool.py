"""`make migration`: a migration that is made of the tables, and says what it cannot know."""

from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, DateTime, MetaData, String, false, true

from allocation.adapters.column_types import UtcDateTime
from allocation.adapters.migrations.revisions import revisions
from allocation.adapters.orm import metadata
from tools import migration
from tools.files import write


def tables_with(*columns: Column[object]) -> MetaData:
    tables = MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(tables)
    for column in columns:
        tables.tables["events"].append_column(column)
    return tables


def test_a_migration_is_called_after_the_newest_and_made_of_the_tables(tmp_path: Path) -> None:
    """Nothing in it is left to be formatted, and every database understands it."""
    tables = tables_with(
        Column("bright", Boolean, nullable=False, server_default=true()),
        Column("dim", Boolean, nullable=False, server_default=false()),
        Column("seen_at", UtcDateTime),
    )

    file = migration.make("Events can shine.", tables, tmp_path)

    newest = revisions()[-1]
    following = f"allocation_{int(newest.removeprefix('allocation_')) + 1:04}"
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
        "events", sa.Column("bright", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.add_column(
        "events", sa.Column("dim", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("events", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True))
'''
    )


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    """Otherwise one is missing; and an empty one would be a mistake that nobody sees."""
    forgotten = migration.make("Forgotten", metadata, tmp_path)
    assert forgotten is None, f"run make migration; it lacks this:\n{forgotten.read_text()}"


def test_a_column_that_the_rows_could_not_have_is_refused() -> None:
    """On the empty tables of a test it would work."""
    tables = tables_with(
        Column("colour", String, nullable=False), Column("seen_at", DateTime, nullable=True)
    )

    [sentence] = migration.impossible(tables)

    assert sentence.startswith("events.colour must not be NULL, and has no server_default")


@pytest.mark.parametrize(
    ("name", "reason"), [("", "say what changes"), ("…", "say what changes"), ("X", "nothing to")]
)
def test_what_cannot_be_made_is_said_in_a_line(name: str, reason: str, tmp_path: Path) -> None:
    """No traceback; `sys.exit` makes an exit code of it for make."""
    assert str(migration.main(name, tmp_path)).startswith(reason)


def test_a_file_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is interrupted still has the old one."""
    file = tmp_path / "file.json"
    write(file, "old\n")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(file, "new\n")

    assert file.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [file]
