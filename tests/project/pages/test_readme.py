"""Every command that README and the pages for the first hour show is run, and prints what they say.

A session is a folder: what a page begins, the next one goes on with.
"""

import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path
from shutil import copy2
from subprocess import DEVNULL, PIPE, Popen

import pytest

from tests.consoles import Command, commands, shows
from tests.e2e.environments import build_wheels, make_environment, run
from tests.e2e.processes import ROOT, TIMEOUT_SECONDS, Application, stat_of, wait_until
from tests.project.killed import story, table
from tests.project.measured import LIFE, measured

AFTER_THE_DEMO = {"readme": ["README.md"], "getting started": ["docs/getting-started.md"]}
FIRST_HOUR = ["docs/getting-started.md", "docs/extensions.md"]
SHORT_LEASE = {"lease_seconds": "4", "handler_timeout_seconds": "3.5"}  # README says 30 seconds
NO_NETWORK = {"PIP_NO_INDEX": "1"}


@dataclass(frozen=True)
class Clone:
    """The project in a folder of its own, with the environment that `make demo` makes there."""

    folder: Path

    def start(self, line: str) -> Popen[str]:
        """Start a line of README's console, and do not wait for it."""
        return Popen(
            ["bash", "-c", f". .venv/bin/activate && exec {line}"],
            cwd=self.folder,
            env=self.environment(),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            text=True,
        )

    def environment(self) -> dict[str, str]:
        """Return what a new user has in the environment: nothing of this test run."""
        variables = Application(self.folder, settings=SHORT_LEASE).environment().items()
        ours = ("MAKE", "MFLAGS", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
        return {name: v for name, v in variables if not name.startswith(ours)} | NO_NETWORK


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """What is installed already is not installed again; all else would need the network."""
    folder = tmp_path / "allocation"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, folder / name)
    make_environment(folder / ".venv", build_wheels(tmp_path), extra="demo")
    (folder / ".venv" / "installed-demo").touch()
    return Clone(folder)


def steps(pages: list[str]) -> list[Command]:
    """Return the commands of all console blocks, in order, each with the lines it shows."""
    text = "".join((ROOT / page).read_text() for page in pages)
    return list(commands("".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))))


@pytest.mark.parametrize("pages", AFTER_THE_DEMO.values(), ids=AFTER_THE_DEMO)
def test_what_the_demo_installs_is_enough_for_every_command(pages: list[str], clone: Clone) -> None:
    """It is the first thing people try, and they have installed nothing else."""
    stopped: list[Popen[str]] = []
    for step in steps(pages):
        match shlex.split(step.line):
            case ["git", "clone", *_] | ["make", "test"]:
                continue  # this is it
            case ["python", "-m", "tests.e2e.stopping", *_]:
                stopped.append(clone.start(step.line))
                wait_until(lambda: stat_of(stopped[0].pid)[0] in "TZ")
            case ["kill", "-KILL", "%1"]:
                stopped[0].kill()
                stopped[0].communicate()
                assert stopped[0].returncode == -signal.SIGKILL
            case _:
                with clone.start(step.line) as process:
                    printed, told = process.communicate(timeout=TIMEOUT_SECONDS)
                assert process.returncode == 0, (step.line, told)
                assert shows(printed, step.shown), (step.line, printed)


def test_every_command_of_the_first_hour_does_what_its_page_says(tmp_path: Path) -> None:
    """With what these pages say to install."""
    application = Application(tmp_path)
    for step in steps(FIRST_HOUR):
        command = shlex.split(step.line)
        match command:
            case ["make", "test"]:
                continue  # this is it
            case ["allocation", *arguments]:
                result = application.run(*arguments)
            case _:
                pytest.fail(f"there is a command nobody checks: {command}")
        assert result.returncode == 0, (command, result.stderr)
        assert shows(result.stdout, step.shown), (command, result.stdout)


def test_the_commands_of_make_exist() -> None:
    """`make demo` and `make test` are what a new user runs."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    shown = [step.line.split() for step in steps(["README.md", *FIRST_HOUR])]

    assert {words[1] for words in shown if words[0] == "make"} <= targets


def test_the_rows_that_a_kill_leaves_are_those_of_the_page(tmp_path: Path) -> None:
    """It is the promise. If the rows have to be others: python -m tests.project.killed."""
    found = table(list(story(tmp_path)))

    assert [*map(without_times, found)] == [*map(without_times, measured("killed", LIFE))]


def without_times(row: str) -> list[str]:
    """Return the cells of a row without what a busy machine may make later."""
    _, _, *cells, available_at, emails, _ = row.split("|")
    return [*cells, available_at.strip(" 0123456789"), emails]
