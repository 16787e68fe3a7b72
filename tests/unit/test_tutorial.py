"""The tutorials fit the code, as far as it can be seen in a moment; `make copies` follows them."""

from pathlib import Path

import pytest

from tests.tutorials import Change, Command, tutorials

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("title", tutorials())
def test_every_change_of_a_tutorial_fits_the_code(title: str) -> None:
    """Who changes a file that a tutorial changes, too, hears of it at once."""
    changes = [step for step in tutorials()[title] if isinstance(step, Change)]
    if (ROOT / changes[0].file).exists():
        pytest.skip("here the tutorial was followed")
    files: dict[str, str] = {}

    for change in changes:
        path = ROOT / change.file
        before = files.get(change.file) or (path.read_text() if path.exists() else "")
        files[change.file] = change.make(before)


@pytest.mark.parametrize("title", tutorials())
def test_a_tutorial_shows_what_there_is_to_see(title: str) -> None:
    """Every step is tried: after each change, some command shows what has come of it."""
    steps = tutorials()[title]

    assert isinstance(steps[-1], Command)
    assert all(step.shown for step in steps if isinstance(step, Command))
