"""What others read about the project says the same everywhere."""

import ast
import re
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, MetaData, String, Table

from allocation.adapters.migrations import HISTORY
from allocation.messages import ACCEPTED_FROM_BROKERS
from tests.later_schema import LATER
from tools import migration

ROOT = Path(__file__).parents[2]
RELEASED = {"aftercommit_0001", "allocation_0001"}  # what is later must leave them in use
ONLY_ADD = {"add_column", "bulk_insert", "create_index", "create_table", "execute", "get_bind"}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_version_is_the_same_everywhere() -> None:
    """Whoever cites, installs or reads what is new means one thing."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d+\.\d+\.\d+) – (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    wheel = re.search(r"allocation-([\d.]+)-py3", (ROOT / "docs" / "releasing.md").read_text())

    assert wheel
    written = {PROJECT["version"], CITATION["version"], wheel[1], version("allocation")}
    assert len(written) == 1
    assert released == sorted(released, reverse=True)
    if "date-released" in CITATION:
        assert released[0] == (PROJECT["version"], str(CITATION["date-released"]))
    else:  # it is in the works
        assert PROJECT["version"] not in dict(released)
        assert "\n## Unreleased\n" in changelog


def test_what_a_broker_lets_others_do_is_written_where_they_look() -> None:
    """A message has no proof of who sent it; whoever sets up the broker has to know."""
    security = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`([A-Z]\w+[a-z]\w+)`", security))

    assert named == {command.__name__ for command in ACCEPTED_FROM_BROKERS}


def operations(source: str) -> set[str]:
    """Return which of Alembic's operations a migration uses; `op.f` is none, it marks a name."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {
        called.attr
        for called in calls
        if isinstance(called, ast.Attribute)
        and isinstance(called.value, ast.Name)
        and called.value.id in {"op", "batch"}
    } - {"f"}


def test_a_migration_only_adds() -> None:
    """Processes of the version before work on, while and after it runs: expand, then contract.

    What takes something away, when nobody needs it any more, is named here with its reason.
    """
    folders = [folder for history in LATER for folder in history.folders]
    files = [file for folder in folders for file in folder.glob("*_*.py")]
    later = [file for file in files if not file.name.startswith(tuple(RELEASED))]

    assert len(later) == len(files) - len(RELEASED)
    assert {file.name: operations(file.read_text()) - ONLY_ADD for file in later} == {
        file.name: set() for file in later
    }
    assert operations("def upgrade(): op.drop_column('users', 'name')") - ONLY_ADD == {
        "drop_column"
    }


def test_a_migration_that_was_made_of_new_tables_only_adds(tmp_path: Path) -> None:
    """What `make migration` writes is committed as it is, constraints and indexes with it."""
    tables = MetaData(naming_convention=HISTORY.metadata.naming_convention)
    for table in HISTORY.metadata.tables.values():
        table.to_metadata(tables)
    Table(
        "colours",
        tables,
        Column("name", String, primary_key=True),
        Column("user_id", ForeignKey("users.id"), index=True),
        Column("depth", Integer, CheckConstraint("depth > 0", name="depth"), unique=True),
    )

    file = migration.make("Users have colours", replace(HISTORY, metadata=tables), tmp_path)

    assert file is not None
    assert operations(file.read_text()) - ONLY_ADD == set()
