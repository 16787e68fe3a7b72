"""The tutorials fit the code, as far as it can be seen in a moment; `make copies` follows them."""

from pathlib import Path

import pytest

from tests.consoles import Command
from tests.tutorials import Change, tutorials

ROOT = Path(__file__).parents[2]


def not_followed_here() -> list[str]:
    """Return the tutorials whose first file is not here: a copy may have kept what one makes."""
    return [title for title in tutorials() if not (ROOT / changes_of(title)[0].file).exists()]


def changes_of(title: str) -> list[Change]:
    return [step for step in tutorials()[title] if isinstance(step, Change)]


@pytest.mark.parametrize("title", not_followed_here())
def test_every_change_of_a_tutorial_fits_the_code(title: str) -> None:
    """Who changes a file that a tutorial changes, too, hears of it at once."""
    files: dict[str, str] = {}

    for change in changes_of(title):
        path = ROOT / change.file
        before = files.get(change.file) or (path.read_text() if path.exists() else "")
        files[change.file] = change.make(before)


@pytest.mark.parametrize("title", tutorials())
def test_a_tutorial_shows_what_there_is_to_see(title: str) -> None:
    """Every step is tried: after each change, some command shows what has come of it."""
    steps = tutorials()[title]

    assert isinstance(steps[-1], Command)
    assert all(step.shown for step in steps if isinstance(step, Command))
