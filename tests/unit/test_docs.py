"""The documentation cannot rot: its links, names and diagrams are checked against the code."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.generated import PAGES, brought_up_to_date
from tests.transitions import TRANSITIONS

ROOT = Path(__file__).parents[2]
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
PROOFS = re.findall(
    r"^- `((?:packages/[\w-]+/)?tests/[^:`]+)(?:`\n  `)?::(\w+)`$", GUARANTEES, re.MULTILINE
)
LIFE = (ROOT / "docs" / "life-of-a-delivery.md").read_text()
TESTING = ROOT / "docs" / "testing.md"
EXAMPLES = re.findall(r"\]\(([^)]+)\)\)\.\n\n```python\n(.*?)```", TESTING.read_text(), re.DOTALL)


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
    assert "```mermaid\n" + "\n".join(diagram()) + "\n```" in LIFE


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    """What the code says of itself is always right."""
    old = [page.name for page in PAGES if page.read_text() != brought_up_to_date(page)]
    assert old == [], "run: make language"


def test_every_link_to_a_file_leads_somewhere() -> None:
    """Readers follow the links into the code."""
    assert [
        f"{page.name}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())
        if not (page.parent / link).exists()
    ] == []


def test_every_link_to_a_heading_leads_there() -> None:
    """A browser says nothing when a heading is not there: it shows the top of the page."""
    assert [
        f"{page.name}: {file}#{heading}"
        for page in PAGES
        for file, heading in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())
        if heading not in headings(page.parent / file if file else page)
    ] == []


def headings(page: Path) -> list[str]:
    """Return the headings of a page, as links name them."""
    return list(map(as_anchor, re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)))


def as_anchor(title: str) -> str:
    """Return a heading as GitHub writes it in links."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_what_a_link_names_is_in_the_file() -> None:
    """Readers look for it there."""
    assert [
        f"{page.name}: {name} in {file.name}"
        for page, name, file in NAMED
        for part in name.split(".")
        if not re.search(rf"\b{part}\b", file.read_text())
    ] == []


def test_every_example_of_a_test_is_in_the_file_it_is_taken_from() -> None:
    """It is copied by readers, and must be what is run."""
    assert [
        f"{file}: {part}"
        for file, example in EXAMPLES
        for part in _unindented(example).split("# …")
        if part.strip() not in _unindented((TESTING.parent / file).read_text())
    ] == []


def _unindented(text: str) -> str:
    return "\n".join(map(str.strip, text.splitlines()))


def test_every_proof_of_a_guarantee_exists() -> None:
    """A promise without a test is only a hope."""
    assert [
        f"{path}::{name}"
        for path, name in PROOFS
        if not (ROOT / path).exists()
        or not re.search(
            rf"^(async def|def) {name}\(|^{name} = ", (ROOT / path).read_text(), re.MULTILINE
        )
    ] == []


def test_no_proof_and_no_example_is_overlooked() -> None:
    """One that is written in another way would not be looked for."""
    assert len(EXAMPLES) == TESTING.read_text().count("```python") > 5
    assert (
        len(PROOFS)
        == len(re.findall(r"`(?:packages/[\w-]+/)?tests/", GUARANTEES))
        == GUARANTEES.count("::")
        > 40
    )


def test_readme_is_short() -> None:
    """It is read in four minutes, or not at all. The manual is in docs."""
    for page in ("README.md", "README.ru.md"):
        assert len((ROOT / page).read_text().splitlines()) <= 200, page


def test_every_guarantee_has_a_limit_and_a_proof() -> None:
    """What is not promised is as important as what is."""
    _, *promises = GUARANTEES.partition("## Promises")[2].split("\n### ")

    assert len(promises) > 8
    for promise in promises:
        assert "*Not" in promise, promise
        assert re.search(r"^- `(packages/[\w-]+/)?tests/", promise, re.MULTILINE), promise
