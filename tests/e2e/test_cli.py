"""The command line as a real process: several at once, pipes, terminals, and what it imports."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.commands import Shell
from tests.programs import LIMIT_SECONDS, Program, wait_until

ROWS = [f"Иван,user{number}@example.com\n" for number in range(40)]
USER_ID = "7d3c1a52-0000-4000-8000-000000000000"
REGISTER = ("register-user", "Анна", "anna@example.com")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_an_import_that_was_interrupted_goes_on_where_it_was(
    program: Program, by: signal.Signals
) -> None:
    """Every user that is stored is complete, or a worker does the rest; nobody is there twice.

    It waits for a pipe in the middle of the file, so nobody knows what its process would do next.
    """
    os.mkfifo(program.folder / "pipe.csv")
    (program.folder / "users.csv").write_text("".join(["name,email\n", *ROWS]))
    with (
        program.running("import-users", "pipe.csv", "--dispatch", "inline") as process,
        (program.folder / "pipe.csv").open("w") as pipe,
    ):
        pipe.write("".join(["name,email\n", *ROWS[:20]]))
        pipe.flush()
        wait_until(lambda: program.rows("SELECT count(*) FROM user_view") == [(20,)])
        process.send_signal(by)
        ended = process.wait(LIMIT_SECONDS)

    again = program.run("import-users", "users.csv", "--dispatch", "worker")
    program.end_leases()
    worker = program.run("worker", "--until-idle")

    assert ended == (130 if by == signal.SIGINT else -signal.SIGKILL)
    assert again.stdout == "imported 20, already there 20, refused 0\n"
    assert (again.returncode, worker.returncode, program.outstanding()) == (0, 0, [])
    for table in ("users", "user_view", "registration_log"):
        assert program.rows(f"SELECT count(*) FROM {table}") == [(40,)]


def test_a_person_at_a_terminal_is_asked_before_a_user_is_erased(
    program: Program, shell: Shell
) -> None:
    """No command brings back what was erased."""
    shell.run(*REGISTER, "--user-id", USER_ID)
    parent, child = pty.openpty()
    os.write(parent, b"n\n")
    command = [sys.executable, "-m", "allocation", "erase-user", USER_ID]
    result = subprocess.run(
        command,
        cwd=program.folder,
        env=program.environment(),
        stdin=child,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    for end in (parent, child):
        os.close(end)

    assert result.returncode == 0
    assert "this cannot be undone" in result.stdout
    assert "Go on? [y/N]" in result.stderr
    assert shell.rows("SELECT name FROM users") == [("Анна",)]


def test_a_person_is_erased_while_a_worker_sends(program: Program, shell: Shell) -> None:
    """The history goes on without the name; the e-mails that were kept are gone."""
    shell.run("add-coupon-batch", "WELCOME", "5")
    shell.run(*REGISTER, "--user-id", USER_ID, dispatch="worker")
    with program.running("worker"):
        wait_until(lambda: program.rows("SELECT 1 FROM registration_log"))
        erased = shell.run("erase-user", USER_ID, "--yes")
    program.end_leases()
    again = shell.run("erase-user", USER_ID, "--yes")
    assert (erased.exit_code, erased.stderr, again.exit_code) == (0, "", 0)

    assert shell.run("worker", "--until-idle").exit_code == 0

    assert shell.run("erase-user", USER_ID, "--yes").stdout.endswith("0 deliveries discarded\n")
    for command in (("users",), ("history",), ("trace", USER_ID), ("deliveries", "list", "--all")):
        printed = shell.run(*command).stdout.casefold()
        assert "erased" in printed
        assert "анна" not in printed
        assert "anna" not in printed
    assert list(shell.folder.glob("*/new/*")) == []
