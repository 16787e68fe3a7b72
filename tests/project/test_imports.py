"""What a short command imports: starting is what takes most of its time."""

import subprocess
import sys

from tests.programs import LIMIT_SECONDS, Program

USER_LIST = ["users"]


def test_help_needs_no_heavy_imports(program: Program) -> None:
    """A person who asks for help should not wait for a database library."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "allocation", "--help"],
        env=program.environment(),
        cwd=program.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint({"sqlalchemy", "alembic", "anyio", "msgspec", "asyncio"})
    assert "register-user" in result.stdout


def test_a_list_from_a_sqlite_file_imports_only_what_it_needs(program: Program) -> None:
    """Starting is what takes most of the time of a short command."""
    program.run("db", "upgrade")
    script = (
        "import sys; from allocation.entrypoints.app import cli;"
        f"cli({USER_LIST}, standalone_mode=False); print(*sys.modules, sep='\\n')"
    )
    imported = subprocess.run(
        [sys.executable, "-c", script],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    ).stdout.splitlines()

    assert "sqlalchemy.dialects.sqlite" in imported
    for heavy in ("alembic", "sqlalchemy.dialects.postgresql", "fastapi", "aio_pika"):
        assert heavy not in imported
