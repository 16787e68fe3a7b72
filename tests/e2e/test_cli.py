"""The command line as a real process: signals, pipes, terminals, and several at once."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import Application, MailServer


@pytest.fixture
def application(tmp_path: Path, backend: str) -> Application:
    """The application, without a mail server: e-mails are kept in a folder."""
    return Application(tmp_path, backend=backend)


def test_a_registration_tells_its_story(application: Application) -> None:
    """A person sees what happened; logs would go to stderr, but there is nothing to log."""
    application.run("add-coupon-batch", "WELCOME", "10")

    result = application.run("register-user", "Иван", "ivan@example.com")

    assert (result.returncode, result.stderr) == (0, "")
    first, *services = result.stdout.splitlines()
    assert first == "[User Service]   registered Иван <ivan@example.com>"
    (code,) = application.rows("SELECT code FROM coupons")[0]
    assert sorted(services) == [
        f"[Coupon Service] coupon {code} allocated to ivan@example.com",
        f"[Email Service]  e-mail with coupon {code} kept in allocation-mail",
        "[Email Service]  welcome e-mail to ivan@example.com kept in allocation-mail",
        "[Log Service]    user registered: ivan@example.com",
    ]
    assert code.startswith("WELCOME-")


def test_two_processes_register_at_once(application: Application) -> None:
    """On one new file: one makes the schema, both succeed."""
    processes = [
        application.start("register-user", "Иван", f"user{n}@example.com") for n in range(4)
    ]

    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    assert application.rows("SELECT count(*) FROM user_view") == [(4,)]


def test_output_into_a_closed_pipe_ends_quietly(application: Application) -> None:
    """`| head` is how people look at long lists."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(40))
    (application.folder / "users.csv").write_text("name,email\n" + rows)
    application.run("import-users", "users.csv")

    for command in (("users", "--json"), ("register-user", "Иван", "ivan@example.com")):
        process = application.start(*command)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(timeout=30) == 0

    assert application.rows("SELECT count(*) FROM registration_log") == [(41,)]


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


def test_ctrl_c_during_an_import_leaves_a_consistent_database(
    application: Application, mail: MailServer
) -> None:
    """Exit code 130; every user that is there is complete, or its rest is owed."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(5000))
    (application.folder / "users.csv").write_text("name,email\n" + rows)
    application.mail = mail

    process = application.start("import-users", "users.csv")
    while not mail.received:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (130, "")
    assert application.run("worker", "--until-idle").returncode == 0
    (users,) = application.rows("SELECT count(*) FROM users")[0]
    assert 0 < users < 5000
    assert application.rows("SELECT count(*) FROM registration_log") == [(users,)]
    assert application.rows("PRAGMA integrity_check") == [("ok",)]


def test_an_import_on_a_terminal_shows_progress(application: Application) -> None:
    """Long work says how far it is; scripts are spared."""
    (application.folder / "users.csv").write_text("name,email\nИван,ivan@example.com\n")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "allocation", "import-users", "users.csv"],
        env=application.environment(),
        cwd=application.folder,
        stdout=subprocess.DEVNULL,
        stderr=child,
    )
    assert process.wait(timeout=30) == 0
    os.close(child)
    shown = os.read(parent, 65536).decode()
    os.close(parent)

    assert "importing" in shown
    assert "100%" in shown
