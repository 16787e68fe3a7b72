"""The documentation cannot rot: its links, names and diagrams are checked against the code."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.generated import PAGES, brought_up_to_date
from tests.transitions import TRANSITIONS

ROOT = Path(__file__).parents[2]
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
PROOFS = re.findall(r"^- `(tests/[^:`]+)(?:`\n  `)?::(\w+)`$", GUARANTEES, re.MULTILINE)
TESTING = ROOT / "docs" / "testing.md"
EXAMPLES = re.findall(r"\]\(([^)]+)\)\)\.\n\n```python\n(.*?)```", TESTING.read_text(), re.DOTALL)
MAX_LINE = 100


def prose(page: str) -> str:
    """Leave out blocks of code."""
    return re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)


NAMED = [
    (page, name, page.parent / file)
    for page in PAGES
    for name, file in re.findall(r"\[`([\w.]+)`\]\(([^)#]+\.py)\)", prose(page.read_text()))
]


def diagram() -> Iterator[str]:
    """Yield the lines of the state diagram of a delivery."""
    yield "stateDiagram-v2"
    for (state, step), following in TRANSITIONS.items():
        yield f"    {_node(state.name)} --> {_node(following.name)}: {step.value}"


def _node(name: str) -> str:
    return "[*]" if name == "NONE" else name.lower()


def test_the_diagram_of_deliveries_is_the_table_of_the_code() -> None:
    """A wrong picture is worse than none."""
    assert "```mermaid\n" + "\n".join(diagram()) + "\n```" in GUARANTEES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_made_from_the_code_is_up_to_date(page: Path) -> None:
    """What the code says of itself is always right."""
    up_to_date = page.read_text() == brought_up_to_date(page)
    assert up_to_date, f"{page.name} is not what the code says now; run: make language"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Readers follow the links into the code."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_heading_leads_there(page: Path) -> None:
    """A browser says nothing when a heading is not there: it shows the top of the page."""
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())
    targets = [(page.parent / file if file else page, heading) for file, heading in links]

    assert [heading for file, heading in targets if heading not in headings(file)] == []


def headings(page: Path) -> list[str]:
    """Return the headings of a page, as links name them."""
    return list(map(as_anchor, re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)))


def as_anchor(title: str) -> str:
    """Return a heading as GitHub writes it in links."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize(("page", "name", "file"), NAMED, ids=lambda value: Path(value).name)
def test_what_a_link_names_is_in_the_file(page: Path, name: str, file: Path) -> None:
    """Readers look for it there."""
    source = file.read_text()

    assert all(re.search(rf"\b{part}\b", source) for part in name.split("."))


@pytest.mark.parametrize(("file", "example"), EXAMPLES)
def test_every_example_of_a_test_is_in_the_file_it_is_taken_from(file: str, example: str) -> None:
    """It is copied by readers, and must be what is run."""
    source = _unindented((TESTING.parent / file).read_text())

    assert [part for part in _unindented(example).split("# …") if part.strip() not in source] == []


def _unindented(text: str) -> str:
    return "\n".join(map(str.strip, text.splitlines()))


@pytest.mark.parametrize(("path", "name"), PROOFS)
def test_every_proof_of_a_guarantee_exists(path: str, name: str) -> None:
    """A promise without a test is only a hope."""
    source = (ROOT / path).read_text()

    assert re.search(rf"^(async def|def) {name}\(|^{name} = ", source, re.MULTILINE)


def test_no_proof_and_no_example_is_overlooked() -> None:
    """One that is written in another way would not be looked for."""
    assert len(EXAMPLES) == TESTING.read_text().count("```python") > 5
    assert len(PROOFS) == GUARANTEES.count("`tests/") == GUARANTEES.count("::") > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_is_longer_than_a_screen(page: Path) -> None:
    """Pages are read in editors and in reviews, too. A row of a table has to be one line."""
    lines = enumerate(page.read_text().splitlines(), start=1)
    long = {number: len(line) for number, line in lines if not line.startswith("|")}

    assert [
        f"{page.name}:{number} has {length} characters; there may be {MAX_LINE}"
        for number, length in long.items()
        if length > MAX_LINE
    ] == []


def test_every_guarantee_has_a_limit_and_a_proof() -> None:
    """What is not promised is as important as what is."""
    _, *promises = GUARANTEES.partition("## Promises")[2].split("\n### ")

    assert len(promises) > 8
    for promise in promises:
        assert "*Not" in promise, promise
        assert "- `tests/" in promise, promise
