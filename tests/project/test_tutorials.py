"""Tutorials and the worked use case fit the code. Whether they work: tests/project/full."""

import re
import subprocess
from pathlib import Path

from tests.project.tutorials import PATCH, TUTORIAL, Change, tutorials

ROOT = Path(__file__).parents[2]


def test_every_change_of_a_tutorial_fits_the_code() -> None:
    """What it looks for is there, once, when its turn comes. If not, mend the page."""
    misfits = []

    for steps in tutorials().values():
        files: dict[str, str] = {}
        for change in (step for step in steps if isinstance(step, Change)):
            path = ROOT / change.file
            before = files.get(change.file) or (path.read_text() if path.exists() else "")
            try:
                files[change.file] = change.make(before)
            except AssertionError as error:
                misfits.append(str(error))

    assert misfits == []


def test_a_tutorial_quotes_the_patch() -> None:
    """A block of `py` is shown only; what it shows is what the reader has applied."""
    quoted = re.findall(r"^```py\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    added = "".join(re.findall(r"^\+(.*\n)", PATCH.read_text(), re.MULTILINE))

    assert len(quoted) > 3
    assert [block for block in quoted if block.rstrip() not in added] == []


def test_the_patch_of_the_use_case_fits_the_code() -> None:
    """If not, CONTRIBUTING.md says how to mend it: "The worked use case".

    Where somebody has followed the tutorial, it is in the code, and can be taken back.
    """
    assert "" in (refused(), refused("--reverse")), refused()


def refused(*options: str) -> str:
    """Return why the patch cannot be applied, or nothing."""
    command = ("git", "apply", "--check", *options, str(PATCH))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
