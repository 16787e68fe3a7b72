"""What goes wrong around a command, and the exit code that says so."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from aftercommit import MessageBus

from aftercommit_tests.builders import PLAIN, EventHandlers, table
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.misbehaving import works
from aftercommit_tests.things import app
from aftercommit_tests.things.domain import Event, ThingMade


def test_a_locked_database_is_exit_code_3(command_line: CommandLine) -> None:
    """Somebody else holds it for longer than we wait."""
    command_line.run("history")
    with closing(sqlite3.connect(command_line.database)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = command_line.run(
            "make-thing",
            "lamp",
            database_url="sqlite:///things.db?timeout=0.1",
        )

    assert result.returncode == 3
    assert result.stderr == "error: the database is not available: database is locked\n"


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "there is none": (
        lambda file: file.symlink_to("no/such/folder/x.db"),
        "no/such/folder/x.db; its folder has to exist, and this user to have write access",
    ),
    "a file of something else": (
        lambda file: file.write_text("dear diary" * 1000),
        "file is not a database",
    ),
}


@pytest.mark.parametrize(("arrange", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_database_is_exit_code_3(
    command_line: CommandLine, arrange: Callable[[Path], object], reason: str
) -> None:
    """Nothing is wrong with the input, and what is there gets no tables of ours beside it."""
    arrange(command_line.database)

    result = command_line.run("history")

    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith("error: the database ")
    assert reason in result.stderr
    assert not command_line.database.exists() or b"dear" in command_line.database.read_bytes()


def test_a_mistake_in_the_program_is_exit_code_70(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the traceback, for anyone who repairs it, and with the reason in the last line."""

    async def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(MessageBus, "handle", fail)
    result = command_line.run("make-thing", "lamp")

    assert result.returncode == 70
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert result.stderr.splitlines()[-1] == "error: ZeroDivisionError: by zero"


@dataclass(frozen=True)
class ThingSold(Event):
    """An event that has a row, and that the codec does not know."""


async def waits_for(event: Event, godot: object) -> None:
    """Ask for what nobody provides."""


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({ThingMade: [waits_for]}, "waits_for asks for what nobody provides."),
        ({ThingSold: [works]}, "events that the Codec does not know; name each in its `events`,"),
    ],
)
@pytest.mark.parametrize("command", [("make-thing", "lamp"), ("check",)])
def test_a_table_with_which_no_process_can_start_is_found_by_check_as_well(
    command_line: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    row: EventHandlers,
    complaint: str,
    command: tuple[str, ...],
) -> None:
    """In one sentence: it names what is wrong, and a traceback is nothing but the engine's."""
    command_line.shows("db", "upgrade")
    wrong = partial(app.bootstrap, handlers=table({**PLAIN, **row}))
    monkeypatch.setattr(app, "bootstrap", wrong)

    result = command_line.run(*command)

    assert result.returncode == 70
    assert result.stderr.startswith(f"error: {complaint}")
    assert result.stderr.count("\n") == 1


def test_a_failing_handler_is_announced_and_the_command_accepted(
    command_line: CommandLine,
) -> None:
    """The thing is made; the bell has to ring."""
    bell = {"bell_file": "tower/bell.txt"}
    first = command_line.run("make-thing", "lamp", **bell)

    assert first.returncode == 0
    assert "made lamp" in first.stdout
    assert "deliveries will be retried: " in first.stderr
    assert "announce in 1 s" in first.stderr
    assert 'run "things worker"' in first.stderr


@pytest.mark.parametrize(
    ("command", "settings", "complaint"),
    [
        (("dance",), {}, "No such command 'dance'"),
        (("history", "--yaml"), {}, "No such option"),
        (("--database-url", "mysql://x", "history"), {}, "error: database URL"),
        (("history",), {"lease_seconds": "5"}, "shorter than THINGS_LEASE_SECONDS"),
    ],
)
def test_a_command_or_a_setting_that_is_none_is_exit_code_2(
    command_line: CommandLine, command: tuple[str, ...], settings: dict[str, str], complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    command_line.refuses(*command, complaint=complaint, **settings)


@pytest.mark.parametrize(
    "command",
    [
        ("make-thing", "\udcff"),
        ("history", "\udcff"),
        ("trace", "\udcff"),
        ("deliveries", "pause", "announce", "--by", "\udcff"),
        ("--database-url", "sqlite:///\udcff", "check"),
    ],
)
def test_an_argument_that_is_not_utf8_is_exit_code_2(
    command_line: CommandLine, command: tuple[str, ...]
) -> None:
    """The shell lets anything through, and no database would store it."""
    command_line.refuses(*command, complaint="an argument is not valid UTF-8")
