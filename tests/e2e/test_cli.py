"""The command line as a real process: signals, pipes, terminals, and several at once."""

import subprocess
import sys
from uuid import UUID

from tests.e2e.processes import TIMEOUT_SECONDS, Application

USER_LIST = ["users"]


def test_a_registration_tells_its_story(application: Application) -> None:
    """A person sees what happened; logs would go to stderr, but there is nothing to log."""
    result = application.run("register-user", "Иван", "ivan@example.com")

    assert (result.returncode, result.stderr) == (0, "")
    first, *services = result.stdout.splitlines()
    [(user_id,)] = application.rows("SELECT id FROM users")
    assert first == f"[User Service]   registered Иван <ivan@example.com> as {UUID(user_id)}"
    assert {*services} >= {
        "[Email Service]  welcome e-mail to ivan@example.com kept in allocation-mail",
        "[Log Service]    user registered: ivan@example.com",
    }


def test_the_story_goes_on_with_a_coupon(application: Application) -> None:
    """And its e-mail, which is kept beside the database as others are."""
    application.run("add-coupon-batch", "WELCOME", "10")

    result = application.run("register-user", "Иван", "ivan@example.com")

    assert {*result.stdout.splitlines()} >= {
        "[Coupon Service] coupon WELCOME-… allocated to ivan@example.com",
        "[Email Service]  e-mail with coupon WELCOME-… kept in allocation-mail",
    }


def test_two_processes_register_at_once(application: Application) -> None:
    """On one new file: one makes the schema, both succeed."""
    processes = [
        application.start("register-user", "Иван", f"user{n}@example.com") for n in range(4)
    ]

    for process in processes:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert (process.returncode, errors) == (0, "")
    assert application.rows("SELECT count(*) FROM user_view") == [(4,)]


def test_help_needs_no_heavy_imports(application: Application) -> None:
    """A person who asks for help should not wait for a database library."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "allocation", "--help"],
        env=application.environment(),
        cwd=application.folder,
        capture_output=True,
        text=True,
        check=True,
    )

    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "click" in imported
    assert imported.isdisjoint({"sqlalchemy", "alembic", "anyio", "msgspec", "asyncio"})
    assert "register-user" in result.stdout


def test_a_list_from_a_sqlite_file_imports_only_what_it_needs(application: Application) -> None:
    """Starting is what takes most of the time of a short command."""
    application.run("db", "upgrade")
    script = (
        "import sys; from allocation.entrypoints.cli import cli;"
        f"cli({USER_LIST}, standalone_mode=False); print(*sys.modules, sep='\\n')"
    )
    imported = subprocess.run(
        [sys.executable, "-c", script],
        cwd=application.folder,
        env=application.environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    ).stdout.splitlines()

    assert "sqlalchemy.dialects.sqlite" in imported
    for heavy in ("alembic", "sqlalchemy.dialects.postgresql", "fastapi", "aio_pika"):
        assert heavy not in imported
