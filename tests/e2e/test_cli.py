"""The command line as a real process: several at once, pipes, terminals, and what it imports."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from tests.commands import Shell
from tests.programs import LIMIT_SECONDS, Program, wait_until

ROWS = [f"Иван,user{number}@example.com\n" for number in range(40)]
REGISTER = ("register-user", "Анна", "anna@example.com")


def test_processes_register_at_once_in_a_new_file(program: Program) -> None:
    """One of them makes the schema, and all succeed."""
    processes = [program.start("register-user", "Иван", f"user{n}@example.com") for n in range(3)]

    for process in processes:
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, errors) == (0, "")
    assert program.rows("SELECT count(*) FROM user_view") == [(3,)]


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


def test_a_list_into_a_closed_pipe_ends_quietly(program: Program) -> None:
    """`| head` is how people look at long lists."""
    (program.folder / "users.csv").write_text("".join(["name,email\n", *ROWS]))
    program.run("import-users", "users.csv", "--dispatch", "inline")

    with program.running("users", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(LIMIT_SECONDS) == 0


def on_terminal(program: Program, *arguments: str, typed: bytes = b"") -> tuple[int, str, str]:
    """Run a command whose errors a terminal shows, and whose input comes from there, too.

    Return its exit code, its output, and what the terminal has shown.
    """
    parent, child = pty.openpty()
    os.write(parent, typed)
    terminal = {"TERM": "xterm", "COLUMNS": "200", "LINES": "24"}
    with subprocess.Popen(
        [sys.executable, "-m", "allocation", *arguments],
        cwd=program.folder,
        env=program.environment() | terminal,
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=child,
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
    os.close(child)
    with closing(os.fdopen(parent, "rb", buffering=0)) as shown:
        return process.returncode, output, shown.read(65536).decode()


def test_an_import_on_a_terminal_shows_progress(program: Program) -> None:
    """Long work says how far it is; scripts are spared."""
    (program.folder / "users.csv").write_text("".join(["name,email\n", *ROWS[:1]]))

    code, _, shown = on_terminal(program, "import-users", "users.csv")

    assert code == 0
    assert "importing" in shown
    assert "100%" in shown


def test_a_person_at_a_terminal_is_asked_before_a_user_is_erased(
    program: Program, shell: Shell
) -> None:
    """No command brings back what was erased."""
    shell.run(*REGISTER, "--user-id", (user_id := "7d3c1a52-0000-4000-8000-000000000000"))

    code, output, shown = on_terminal(program, "erase-user", user_id, typed=b"n\n")

    assert code == 0
    assert "this cannot be undone" in output
    assert "Go on? [y/N]" in shown
    assert shell.rows("SELECT name FROM users") == [("Анна",)]


def test_a_person_is_erased_while_a_worker_sends(program: Program, shell: Shell) -> None:
    """The history goes on without the name; the e-mails that were kept are gone."""
    user_id = "7d3c1a52-0000-4000-8000-000000000000"
    shell.run("add-coupon-batch", "WELCOME", "5")
    shell.run(*REGISTER, "--user-id", user_id, dispatch="worker")
    with program.running("worker"):
        wait_until(lambda: program.rows("SELECT 1 FROM registration_log"))
        erased = shell.run("erase-user", user_id, "--yes")
    program.end_leases()
    again = shell.run("erase-user", user_id, "--yes")
    assert (erased.exit_code, erased.stderr, again.exit_code) == (0, "", 0)

    assert shell.run("worker", "--until-idle").exit_code == 0

    assert shell.run("erase-user", user_id, "--yes").stdout.endswith("0 deliveries discarded\n")
    for command in (("users",), ("history",), ("trace", user_id), ("deliveries", "list", "--all")):
        printed = shell.run(*command).stdout.casefold()
        assert "erased" in printed
        assert "анна" not in printed
        assert "anna" not in printed
    assert list(shell.folder.glob("*/new/*")) == []


def test_a_wrong_id_erases_nobody(shell: Shell) -> None:
    """Nor is an address understood: it would stay in the history of a shell."""
    unknown = shell.run("erase-user", "7d3c1a52-0000-4000-8000-000000000000", "--yes")
    address = shell.run("erase-user", "anna@example.com")

    assert (unknown.exit_code, address.exit_code) == (1, 2)
    assert "there is no user" in unknown.stderr


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


def test_a_list_from_a_sqlite_file_imports_only_what_it_needs(
    program: Program, shell: Shell
) -> None:
    """Starting is what takes most of the time of a short command."""
    shell.run("db", "upgrade")
    script = (
        "import sys; from allocation.entrypoints.cli import cli;"
        "cli(['users'], standalone_mode=False); print(*sys.modules, sep='\\n')"
    )
    imported = subprocess.run(
        [sys.executable, "-c", script],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert "sqlalchemy.dialects.sqlite" in imported
    heavy = {"alembic", "sqlalchemy.dialects.postgresql", "fastapi", "aio_pika"}
    assert heavy.isdisjoint(imported)
