"""Every command of the README, and of the page about rooms, is run, and prints what it says."""

import re
import shlex
from pathlib import Path

import pytest

from tests.consoles import Command, commands, shows
from tests.e2e.killed import story, table
from tests.e2e.processes import ROOT, Application
from tests.measured import measured


def steps() -> list[Command]:
    """Return the commands of all console blocks, in order, each with the lines it shows."""
    text = "".join((ROOT / page).read_text() for page in ("README.md", "docs/rooms.md"))
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return list(commands("".join(blocks)))


def test_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    """It is the first thing people try."""
    application = Application(tmp_path)
    for step in steps():
        command = shlex.split(step.line)
        match command:
            case ["make", "demo"]:
                result = application.run_script("demo")
            case ["make", "test"]:
                continue  # this is it
            case ["make", "rooms" | "without", *_]:
                continue  # tests/copies does it
            case ["allocation", *arguments]:
                result = application.run_script(*arguments)
            case _:
                pytest.fail(f"there is a command nobody checks: {command}")
        assert result.returncode == 0, (command, result.stderr)
        assert shows(result.stdout, step.shown), (command, result.stdout)


def test_the_commands_of_make_exist() -> None:
    """`make demo` and `make test` are what a new user runs."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))

    assert {step.line.split()[1] for step in steps() if step.line.startswith("make ")} <= targets


def test_the_rows_that_a_kill_leaves_are_those_of_the_readme(tmp_path: Path) -> None:
    """It is the promise. If the rows have to be others: python -m tests.e2e.killed."""
    assert list(table(list(story(tmp_path)))) == measured("killed")
