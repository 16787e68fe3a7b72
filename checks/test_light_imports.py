"""What a short command imports: starting is what takes most of its time."""

import subprocess
import sys

import pytest

from tests.programs import LIMIT_SECONDS, Program

pytestmark = pytest.mark.on("asyncio")


def imported_by(program: Program, *arguments: str) -> set[str]:
    """Run a command, and return the names of the modules that it has imported."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "allocation", *arguments],
        env=program.environment(),
        cwd=program.folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    return {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}


@pytest.mark.on("trio")
def test_help_needs_no_heavy_imports(program: Program) -> None:
    """An operator who asks for help should not wait for a database library."""
    imported = imported_by(program, "--help")

    assert "click" in imported
    assert imported.isdisjoint({"sqlalchemy", "alembic", "anyio", "msgspec", "asyncio"})


def test_a_list_from_a_sqlite_file_imports_only_what_it_needs(program: Program) -> None:
    """No other database, no migrations, no server."""
    program.run("db", "upgrade")

    imported = imported_by(program, "users")

    assert "sqlalchemy.dialects.sqlite" in imported
    others = {"alembic", "sqlalchemy.dialects.postgresql", "fastapi", "aio_pika"}
    assert imported.isdisjoint(others)
