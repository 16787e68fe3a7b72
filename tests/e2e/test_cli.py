"""The command line as a real process: several at once, pipes, terminals, and what it imports."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.commands import Shell
from tests.programs import LIMIT_SECONDS, Process, Program, wait_until

pytestmark = pytest.mark.on("trio")

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
    with at_a_terminal(program, "erase-user", USER_ID) as (process, terminal):
        os.write(terminal, b"n\n")
        shown, asked = process.communicate(timeout=LIMIT_SECONDS)

    assert process.returncode == 0
    assert "this cannot be undone" in shown
    assert "Go on? [y/N]" in asked
    assert shell.rows("SELECT name FROM users") == [("Анна",)]


@pytest.mark.on("asyncio")
def test_what_changes_while_the_question_is_open_is_erased_too(
    program: Program, shell: Shell
) -> None:
    """An operator thinks about it, or looks something up; the service goes on meanwhile."""
    shell.run("add-coupon-batch", "WELCOME", "5")
    shell.run(*REGISTER, "--user-id", USER_ID, dispatch="worker")
    with at_a_terminal(program, "erase-user", USER_ID) as (process, terminal):
        assert process.stdout
        assert "this cannot be undone" in process.stdout.readline()
        shell.run("change-email", USER_ID, "new@example.net", dispatch="worker")
        shell.run("worker", "--until-idle")
        kept = {file.name: file.read_text("utf-8") for file in shell.folder.glob("*/new/*")}
        os.write(terminal, b"y\n")
        process.communicate(timeout=LIMIT_SECONDS)

    assert process.returncode == 0
    assert any("new@example.net" in text for text in kept.values())
    assert list(shell.folder.glob("*/new/*")) == []


@contextmanager
def at_a_terminal(program: Program, *arguments: str) -> "Iterator[tuple[Process, int]]":
    """Run a command that can ask an operator; what is written to the terminal are the answers."""
    parent, child = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "allocation", *arguments],
            cwd=program.folder,
            env=program.environment(),
            stdin=child,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process, parent
            finally:
                process.kill()
    finally:
        for end in (parent, child):
            os.close(end)


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
