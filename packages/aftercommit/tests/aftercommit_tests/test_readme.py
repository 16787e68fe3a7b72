"""What the README of the engine shows is in the application of its tests, and its links lead on."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"


def test_the_table_it_shows_is_one_that_runs() -> None:
    """It is copied by readers."""
    [shown] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    assert shown in EXAMPLE.read_text()


def test_its_links_lead_somewhere() -> None:
    """Readers follow them into the code."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README.read_text())

    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_it_is_read_in_ten_minutes() -> None:
    """What takes longer has pages of its own."""
    assert len(README.read_text().splitlines()) <= 150
