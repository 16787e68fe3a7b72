"""Tutorials and the worked use case fit the code. Whether they work: tests/full."""

import os
import re
import subprocess
from pathlib import Path

from tests.consoles import Command
from tests.tutorials import BY_HAND, CHECKLIST, PATCH, TUTORIAL, Change, tutorials

ROOT = Path(__file__).parents[2]
LIMIT = 12  # files
GENERATED = re.compile(
    r"docs/(brokers/asyncapi\.json|errors\.md)|.*/(event_loading\.json|versions/.*)"
)


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


def test_a_tutorial_shows_what_there_is_to_see() -> None:
    """Every command is shown with what it prints, and the last word is one."""
    for steps in tutorials().values():
        assert isinstance(steps[-1], Command)
        assert [step for step in steps if isinstance(step, Command) and not step.shown] == []


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


def test_a_use_case_costs_few_files() -> None:
    """All that is written by hand, tests and documentation, too; the rest is generated."""
    assert [file for file in BY_HAND if GENERATED.fullmatch(file)] == []
    assert len([*BY_HAND, "CHANGELOG.md"]) <= LIMIT


def test_the_checklist_names_every_file() -> None:
    """Who follows it forgets nothing."""
    page = CHECKLIST.read_text()
    linked = {os.path.normpath(f"docs/{to}") for to in re.findall(r"\]\(([^)#]+)\)", page)}

    named = linked | {file for file in BY_HAND if f"[{Path(file).name}](use_case/" in page}

    assert [file for file in BY_HAND if file not in named] == []
