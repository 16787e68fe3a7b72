"""Every command that README and the page about extensions show is run, and prints what they say.

A session is a folder: what a page begins, the next one goes on with.
"""

import re
import shlex
import signal
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import pytest
from aftercommit_tests.environments import make_environment, wheels_of
from aftercommit_tests.processes import TIMEOUT_SECONDS, stat_of, wait_until

from checks.console_blocks import Command, commands, shows
from checks.processes import Application
from checks.project_copy import copy_project
from tools.repository import ROOT

pytestmark = pytest.mark.check

SHORT_LEASE = {"lease_seconds": "10", "handler_timeout_seconds": "9"}  # README says 30 seconds


def steps(page: str) -> list[Command]:
    """Return the commands of all console blocks, in order, but the one that fetches this."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [step for step in commands("".join(blocks)) if not step.line.startswith("git clone ")]


@pytest.fixture
def clone(tmp_path: Path, shared_folder: Path) -> Path:
    """The project in a folder of its own, with the environment that `make demo` makes there.

    What is installed already is not installed again; all else would need the network.
    """
    folder = tmp_path / "allocation"
    copy_project(folder)
    make_environment(folder / ".venv", wheels_of(shared_folder), extra="demo")
    (folder / ".venv" / "installed-demo").touch()
    return folder


def typed(line: str, clone: Path) -> Popen[str]:
    """Type a line as a new user does, with nothing of this test run in the environment."""
    variables = Application(clone, settings=SHORT_LEASE).environment().items()
    ours = ("MAKE", "MFLAGS", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
    return Popen(
        ["bash", "-c", f". .venv/bin/activate && exec {line}"],
        cwd=clone,
        env={n: v for n, v in variables if not n.startswith(ours)} | {"PIP_NO_INDEX": "1"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )


def test_what_the_demo_installs_is_enough_for_every_command(clone: Path) -> None:
    """It is the first thing people try, and they have installed nothing else."""
    stopped: list[Popen[str]] = []
    for step in steps("README.md"):
        match shlex.split(step.line):
            case [".", activate]:
                assert (clone / activate).exists()
            case ["python", "-m", "playground.stop_after_commit", *_]:
                stopped.append(typed(step.line, clone))
                wait_until(lambda: stat_of(stopped[0].pid)[0] in "TZ")
            case ["kill", "-KILL", "%1"]:
                stopped[0].kill()
                stopped[0].communicate()
                assert stopped[0].returncode == -signal.SIGKILL
            case _:
                with typed(step.line, clone) as process:
                    printed, told = process.communicate(timeout=TIMEOUT_SECONDS)
                assert process.returncode == 0, (step.line, told)
                assert shows(printed, step.shown), (step.line, printed)


def test_the_commands_are_the_same_in_each_language() -> None:
    """So those of one page are run for both."""
    assert steps("README.ru.md") == steps("README.md") != []


@pytest.mark.parametrize("page", ["README", "brokers", "inspecting"])
def test_every_command_of_a_page_about_extensions_does_what_it_says(
    page: str, tmp_path: Path
) -> None:
    """With what it says to install."""
    application = Application(tmp_path)
    for step in steps(f"docs/extensions/{page}.md"):
        program, *arguments = shlex.split(step.line)
        assert program == "allocation", f"there is a command nobody checks: {step.line}"

        result = application.run(*arguments)

        assert result.returncode == 0, (step.line, result.stderr)
        assert shows(result.stdout, step.shown), (step.line, result.stdout)
