"""What goes wrong around a command, and the exit code that says so."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from aftercommit.bus import MessageBus
from aftercommit.errors import WiringError

from tests.commands import Shell


def test_settings_that_contradict_each_other_are_exit_code_2(shell: Shell) -> None:
    """Better refused at start than wrong at night."""
    result = shell.run("users", lease_seconds="5", handler_timeout_seconds="10")

    assert result.exit_code == 2
    assert "shorter than ALLOCATION_LEASE_SECONDS" in result.stderr


def test_a_locked_database_is_exit_code_3(shell: Shell) -> None:
    """Somebody else holds it for longer than we wait."""
    shell.run("users")
    with closing(sqlite3.connect(shell.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = shell.run(
            "register-user",
            "Иван",
            "i@example.com",
            database_url="sqlite:///allocation.db?timeout=0.1",
        )

    assert result.exit_code == 3
    assert result.stderr == "error: the database is not available: database is locked\n"


def change(database: Path, *statements: str) -> None:
    """Change a database from outside; make it, if it is not there."""
    with closing(sqlite3.connect(database)) as other, other:
        for statement in statements:
            other.execute(statement)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "there is none": (lambda file: file.symlink_to("no/such/folder/x.db"), "unable to open"),
    "a file of something else": (
        lambda file: file.write_text("dear diary" * 1000),
        "file is not a database",
    ),
    "tables of something else": (
        lambda file: change(file, "CREATE TABLE diary (text)"),
        "is missing beside other tables",
    ),
}


@pytest.mark.parametrize(("arrange", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_database_is_exit_code_3(
    shell: Shell, arrange: Callable[[Path], object], reason: str
) -> None:
    """Nothing is wrong with the input, and what is there gets no tables of ours beside it."""
    arrange(shell.database)

    result = shell.run("users")

    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: the database ")
    assert reason in result.stderr
    assert b"coupon" not in b"".join(
        each.read_bytes() for each in shell.folder.glob("*.db") if each.exists()
    )


@pytest.mark.parametrize(
    ("revision", "advice"),
    [("allocation_9999", "install a newer one"), ("9999", "tables of something else")],
)
def test_a_schema_of_another_version_is_exit_code_3(
    shell: Shell, revision: str, advice: str
) -> None:
    """Guessing would destroy data; the message says what to do."""
    shell.run("db", "upgrade")
    change(shell.database, f"UPDATE alembic_version SET version_num = '{revision}'")

    for command in (("users",), ("db", "upgrade")):
        result = shell.run(*command)
        assert result.exit_code == 3
        assert advice in result.stderr


def test_the_schema_can_be_made_beforehand(shell: Shell) -> None:
    """For those who give the application no right to create tables; repeating is harmless."""
    for _ in range(2):
        result = shell.run("db", "upgrade")
        assert result.exit_code == 0
        assert "up to date" in result.stdout
    assert shell.run("users", "--json").stdout == ""


@pytest.mark.parametrize(
    "error", [WiringError("asks for\nwhat nobody provides", "name"), ZeroDivisionError("by zero")]
)
def test_a_mistake_in_the_program_is_exit_code_70(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With the traceback, for whoever mends it, and with the reason in the last line."""

    async def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(MessageBus, "handle", fail)
    result = shell.run("register-user", "Иван", "i@example.com")

    assert result.exit_code == 70
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    reason = f"error: {type(error).__name__}: {error}".replace("\n", " ")
    assert result.stderr.splitlines()[-1] == reason


def test_a_failing_handler_is_announced_and_the_command_accepted(
    shell: Shell,
) -> None:
    """The user is registered; the e-mail is owed."""
    url = "maildir:allocation.db"  # a file, where no folder can be made
    result = shell.run("register-user", "Иван", "ivan@example.com", mail_url=url, max_attempts="1")
    again = shell.run("register-user", "Мария", "maria@example.com", mail_url=url)

    assert result.exit_code == again.exit_code == 0
    assert "[Log Service]    user registered: ivan@example.com" in result.stdout
    assert "welcome e-mail" not in result.stdout
    parked, *_ = result.stderr.removeprefix("1 delivery parked: ").partition("; ")
    assert parked == "send_welcome_email"
    assert "1 delivery will be retried: " in again.stderr
    assert "send_welcome_email in 1 s" in again.stderr
    assert 'run "allocation worker"' in again.stderr


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("dance",), "No such command 'dance'"),
        (("users", "--yaml"), "No such option '--yaml'"),
        (
            ("--event-loop", "trio", "--database-url", "sqlite+aiosqlite:///a.db", "users"),
            "names sqlite+aiosqlite, which is not supported on trio",
        ),
        (("--database-url", "mysql://x", "users"), "error: database URL"),
        (("--database-url", "sqlite://", "users"), "in-memory database is not supported"),
    ],
)
def test_a_command_or_a_setting_that_is_none_is_exit_code_2(
    shell: Shell, command: tuple[str, ...], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    result = shell.run(*command)

    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert not shell.database.exists()
