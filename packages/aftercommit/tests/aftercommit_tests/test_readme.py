"""What the README of the package shows is in its example, and its links lead on."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"
MOST_LINES = 50  # without blanks: read at one glance


def test_the_code_it_shows_is_of_the_file_that_runs() -> None:
    """It is copied by readers. The file is short."""
    shown = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)

    assert len(shown) == 3
    assert [each for each in shown if each not in EXAMPLE.read_text()] == []
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= MOST_LINES


def test_its_links_lead_somewhere() -> None:
    """Readers follow them into the code."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README.read_text())

    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_it_is_read_in_ten_minutes() -> None:
    """What takes longer has pages of its own."""
    assert len(README.read_text().splitlines()) <= 150
