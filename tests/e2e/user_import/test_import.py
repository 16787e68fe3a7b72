"""An import as a real process: a list to read, a terminal, and interruptions."""

import os
import signal
import sqlite3

from tests.e2e.processes import LIMIT_SECONDS, Application, on_terminal, wait_until
from tests.e2e.smtp.mail_server import MailServer


def test_output_into_a_closed_pipe_ends_quietly(application: Application) -> None:
    """`| head` is how people look at long lists."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(40))
    (application.folder / "users.csv").write_text("name,email\n" + rows)
    application.run("import-users", "users.csv", "--dispatch", "inline")

    for command in (("users", "--json"), ("register-user", "Иван", "ivan@example.com")):
        process = application.start(*command)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(timeout=LIMIT_SECONDS) == 0

    assert application.rows("SELECT count(*) FROM registration_log") == [(41,)]


def test_ctrl_c_during_an_import_leaves_a_consistent_database(
    application: Application, mail: MailServer
) -> None:
    """Exit code 130; every user that is there is complete, or its rest is owed."""
    rows = "".join(f"user{n},user{n}@example.com\n" for n in range(5000))
    (application.folder / "users.csv").write_text("name,email\n" + rows)
    application.mail = mail

    process = application.start("import-users", "users.csv", "--dispatch", "inline")
    while not mail.received:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_SECONDS)

    assert (process.returncode, errors) == (130, "")
    assert application.run("worker", "--until-idle").returncode == 0
    (users,) = application.rows("SELECT count(*) FROM users")[0]
    assert 0 < users < 5000
    assert application.rows("SELECT count(*) FROM registration_log") == [(users,)]
    assert application.rows("PRAGMA integrity_check") == [("ok",)]


def test_an_import_on_a_terminal_shows_progress(application: Application) -> None:
    """Long work says how far and how fast it is; scripts are spared."""
    (application.folder / "users.csv").write_text("name,email\nИван,ivan@example.com\n")
    importing = on_terminal(application, "import-users", "users.csv", errors=True)

    with importing as (process, pieces):
        shown = b"".join(pieces)
        assert process.wait(timeout=LIMIT_SECONDS) == 0
    for words in (b"importing", b"100%"):
        assert words in shown


def test_an_import_that_waits_for_a_pipe_can_be_interrupted(application: Application) -> None:
    """Ctrl-C, while whoever writes the rows has none."""
    os.mkfifo(application.folder / "users.csv")
    with (
        application.running("import-users", "users.csv", "--dispatch", "inline") as process,
        (application.folder / "users.csv").open("w") as rows,
    ):
        rows.write("name,email\n" + "".join(f"u,u{n}@example.com\n" for n in range(100)))
        rows.flush()
        wait_until(lambda: application.database.exists() and imported(application) == 100)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_SECONDS) == 130


def imported(application: Application) -> int:
    try:
        [(count,)] = application.rows("SELECT count(*) FROM user_view")
    except sqlite3.OperationalError:  # there is no table yet
        return 0
    return int(count)
