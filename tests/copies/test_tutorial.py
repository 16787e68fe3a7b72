"""Whoever follows the tutorials, step by step, sees what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.consoles import Command, shows
from tests.copies.conftest import ROOT, TIMEOUT_SECONDS, Copy
from tests.tutorials import Change, tutorials

DOES_NOT_FIT = """\
docs/tutorial.md does not fit the code any more: mend it. A copy of this project that goes its own
way deletes it, with this test."""


@pytest.mark.parametrize("title", tutorials())
def test_every_change_of_a_tutorial_fits_the_code(title: str) -> None:
    """This is seen in a moment: what it looks for is there, once, when its turn comes."""
    files: dict[str, str] = {}

    for change in (step for step in tutorials()[title] if isinstance(step, Change)):
        path = ROOT / change.file
        before = files.get(change.file) or (path.read_text() if path.exists() else "")
        try:
            files[change.file] = change.make(before)
        except AssertionError as error:
            pytest.fail(f"{error}\n{DOES_NOT_FIT}")


@pytest.mark.parametrize("title", tutorials())
def test_a_tutorial_shows_what_there_is_to_see(title: str) -> None:
    """Every command is shown with what it prints, and the last word is one."""
    steps = tutorials()[title]

    assert isinstance(steps[-1], Command)
    assert all(step.shown for step in steps if isinstance(step, Command))


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("title", tutorials())
def test_a_tutorial_can_be_followed(title: str, copy: Copy) -> None:
    """In a copy of the project: files are written and changed, and commands print what is shown."""
    for step in tutorials()[title]:
        match step:
            case Change(file, make):
                path = copy.folder / file
                path.write_text(make(path.read_text() if path.exists() else ""))
            case Command(line, shown):
                result = typed(copy, line)
                assert shows(result.stdout, shown), f"$ {line}\n{result.stdout}"
                assert (result.returncode != 0) == says_that_it_fails(shown), f"$ {line}"
    copy.check()


def says_that_it_fails(shown: tuple[str, ...]) -> bool:
    return bool(re.search(r"error|failed", "\n".join(shown), re.IGNORECASE))


def typed(copy: Copy, line: str) -> "subprocess.CompletedProcess[str]":
    """Type a command into a shell in a copy whose environment is that of this process."""
    installed = f"-s -o {sys.prefix}/installed VENV={sys.prefix} MYPY_CACHE_DIR={copy.mypy_cache}"
    return subprocess.run(
        ["bash", "-c", line.replace("make ", f"make {installed} ", 1)],
        cwd=copy.folder,
        env=copy.environment | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
