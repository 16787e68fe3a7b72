"""What the README of the package shows is in its example, and its links lead on."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"
MOST_LINES = 50  # without blanks: read at one glance


def test_the_code_it_shows_is_of_the_file_that_runs() -> None:
    """It is copied by readers; `# …` and two blank lines stand for what is left out."""
    [shown] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    example = EXAMPLE.read_text()

    parts = [unindented(part) for part in re.split("# …|\n\n\n", shown)]
    assert [part for part in parts if part.strip() not in unindented(example)] == []
    assert len([line for line in example.splitlines() if line.strip()]) <= MOST_LINES


def unindented(text: str) -> str:
    return "\n".join(map(str.strip, text.splitlines()))


def test_its_links_lead_somewhere() -> None:
    """Readers follow them into the code."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", README.read_text())

    assert len(links) > 10
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_it_is_read_in_ten_minutes() -> None:
    """What takes longer has pages of its own."""
    assert len(README.read_text().splitlines()) <= 150
