"""Every command that README and the pages for the first hour show is run, and prints what they say.

A session is a folder: what a page begins, the next one goes on with.
"""

import re
import shlex
import signal
from pathlib import Path
from subprocess import Popen

import pytest

from tests.consoles import Command, commands, shows
from tests.e2e.killed import story, table
from tests.e2e.processes import ROOT, Application, stat_of, wait_until
from tests.measured import LIFE, measured

SESSIONS = {
    "readme": ["README.md"],
    "first hour": ["docs/getting-started.md", "docs/extensions.md", "docs/make-it-yours.md"],
}
SHORT_LEASE = {"lease_seconds": "4", "handler_timeout_seconds": "3.5"}  # README says 30 seconds


def steps(pages: list[str]) -> list[Command]:
    """Return the commands of all console blocks, in order, each with the lines it shows."""
    text = "".join((ROOT / page).read_text() for page in pages)
    return list(commands("".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))))


@pytest.mark.parametrize("pages", SESSIONS.values(), ids=SESSIONS)
def test_every_command_does_what_its_page_says(pages: list[str], tmp_path: Path) -> None:
    """It is the first thing people try."""
    application = Application(tmp_path, settings=SHORT_LEASE)
    stopped: list[Popen[str]] = []
    for step in steps(pages):
        command = shlex.split(step.line)
        match command:
            case ["git", *_] | ["make", "test"]:
                continue  # this is it
            case ["make", "extensions" | "new" | "new-diff" | "without", *_]:
                continue  # tests/copies does it
            case ["python", "-m", "tests.e2e.stopping", *arguments]:
                stopped.append(application.start(*arguments, module=["tests.e2e.stopping"]))
                wait_until(lambda: stat_of(stopped[0].pid)[0] in "TZ")
                continue
            case ["kill", "-KILL", "%1"]:
                stopped[0].kill()
                stopped[0].communicate()
                assert stopped[0].returncode == -signal.SIGKILL
                continue
            case ["make", *arguments] | ["allocation", *arguments]:
                result = application.run(*arguments)
            case _:
                pytest.fail(f"there is a command nobody checks: {command}")
        assert result.returncode == 0, (command, result.stderr)
        assert shows(result.stdout, step.shown), (command, result.stdout)


def test_the_commands_of_make_exist() -> None:
    """`make demo` and `make test` are what a new user runs."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    shown = [step.line.split() for pages in SESSIONS.values() for step in steps(pages)]

    assert {words[1] for words in shown if words[0] == "make"} <= targets


def test_the_rows_that_a_kill_leaves_are_those_of_the_page(tmp_path: Path) -> None:
    """It is the promise. If the rows have to be others: python -m tests.e2e.killed."""
    found = table(list(story(tmp_path)))

    assert [*map(without_times, found)] == [*map(without_times, measured("killed", LIFE))]


def without_times(row: str) -> list[str]:
    """Return the cells of a row without what a busy machine may make later."""
    _, _, *cells, available_at, emails, _ = row.split("|")
    return [*cells, available_at.strip(" 0123456789"), emails]
