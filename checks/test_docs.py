"""The documentation cannot rot: its links, names, examples and orders are checked by the code."""

import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from aftercommit.project import TEMPLATE

from allocation.config import Settings
from checks.code_size import files
from checks.tutorial_commands import PATCH, TUTORIAL
from tools import terminal_picture
from tools.generated import PAGES, brought_up_to_date
from tools.reference_pages import NOT_IN_MAKE_TEST, PROOFS, as_anchor, promises
from tools.repository import ROOT

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)  # some lines are for the site alone
QUOTED = re.compile(r"^<!-- from (\S+) -->\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    """What the code says of itself is always right."""
    old = [page.name for page in PAGES if page.read_text() != brought_up_to_date(page)]
    assert old == [], "run: make language"
    assert terminal_picture.PICTURE.read_text() == terminal_picture.picture(), "run: make language"


def test_a_default_is_the_same_wherever_it_stands() -> None:
    """The pages that repeat one are named here."""
    settings = Settings()
    lease, limit = settings.lease_seconds, settings.handler_timeout_seconds
    said = [
        ("README.md", f"for {lease:.0f} seconds"),
        ("docs/life-of-a-delivery.md", f"{lease:.0f} seconds, by the"),
        ("packages/aftercommit/docs/time-limits.md", f"10 more ({2 * limit + 10:.0f})"),
        ("docs/operations.md", f"`ALLOCATION_LEASE_SECONDS`, {lease:.0f} s"),
    ]

    texts = {page: " ".join((ROOT / page).read_text().split()) for page, _ in said}
    assert [(page, text) for page, text in said if text not in texts[page]] == []


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    """Readers follow the links into the code; without a heading, a browser shows the top."""
    link = re.compile(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)")
    texts = {page: COMMENT.sub("", page.read_text()) for page in PAGES}
    links = [(page, *found) for page, text in texts.items() for found in link.findall(text)]

    assert len(links) > 1000
    assert [
        f"{page.name}: {file}#{heading}"
        for page, file, heading in links
        for target in [page.parent / file if file else page]
        if not target.exists() or (heading and heading not in headings(target))
    ] == []


@cache
def headings(page: Path) -> list[str]:
    """Return the headings of a page, as links name them."""
    return list(map(as_anchor, re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)))


def test_a_file_that_code_names_is_there() -> None:
    """Docstrings and messages send readers to other files, by names that nobody imports."""
    there = [file.as_posix() for file in ROOT.rglob("*.py") if ".venv" not in file.parts]
    name = re.compile(r"`([\w/]+\.py)`|\{SOURCE\}/([\w/]+\.py)")
    sources = files(*(ROOT / each for each in ("src", "packages", "checks", "tests")))
    named = [
        (source, first or second)
        for source in sources
        for first, second in name.findall(source.read_text())
    ]

    assert len(named) > 50
    assert [
        f"{source.name}: {file}"
        for source, file in named
        if not any(each.endswith(f"/{file}") for each in there)
    ] == []


def test_what_a_link_names_is_in_the_file() -> None:
    """Readers look for it there."""
    code = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
    link = re.compile(r"\[`([\w.]+)`\]\(([^)#]+\.py)\)")
    named = [
        (page, *found) for page in PAGES for found in link.findall(code.sub("", page.read_text()))
    ]

    assert len(named) > 100
    assert [
        f"{page.name}: {name} in {file}"
        for page, name, file in named
        for part in name.split(".")
        if not re.search(rf"\b{part}\b", (page.parent / file).read_text())
    ] == []


def test_what_a_page_tells_to_run_is_there() -> None:
    """Targets of make, and modules; what they do is tested where it is."""
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]
    orders = [
        order
        for page in pages
        for order in re.findall(
            r"(?:`|^\$ |^ {4})(?:make|python -m) ([\w-][\w.-]*)", page.read_text(), re.MULTILINE
        )
    ]
    files = (ROOT / "Makefile", TEMPLATE / "Makefile")
    made = "".join(file.read_text() for file in files)
    targets = re.findall(r"^([\w-]+):", made, re.MULTILINE)

    assert len(orders) > 50
    assert [each for each in orders if each not in targets and not find_spec(each)] == []


def test_what_a_page_quotes_is_in_the_file() -> None:
    """Readers copy it; `# …` and two blank lines stand for what is left out."""
    quoted = [(page, *found) for page in PAGES for found in QUOTED.findall(page.read_text())]

    assert len(quoted) > 15
    assert [
        f"{page.name}, {file}: {part}"
        for page, file, example in quoted
        for part in re.split("# …|\n\n\n", unindented(example))
        if part.strip() not in unindented((page.parent / file).read_text())
    ] == []


def unindented(text: str) -> str:
    return "\n".join(map(str.strip, text.splitlines()))


def test_every_promise_has_tests_that_exist() -> None:
    """A promise without a test is only a hope."""
    proofs = [proof.split("::") for tests in PROOFS.values() for proof in tests]

    assert {*promises()} == {*PROOFS}, "a promise without tests, or tests of none: proofs.toml"
    assert len(proofs) > 200
    assert all(PROOFS.values())
    assert [
        f"{path}::{name}"
        for path, name in proofs
        if not (ROOT / path).exists()
        or not re.search(
            rf"^(async def|def) {name}\(|^{name} = ", (ROOT / path).read_text(), re.MULTILINE
        )
    ] == []


@pytest.mark.check
def test_each_promise_is_proven_by_make_test_or_says_why_it_is_not() -> None:
    """Who changes a line has to see at once which promise that breaks."""
    named = sorted({proof.partition("::")[0] for proofs in PROOFS.values() for proof in proofs})
    order = (sys.executable, "-m", "pytest", "-q", "--collect-only", "--tier", "test", *named)
    found = subprocess.run(order, cwd=ROOT, capture_output=True, text=True).stdout
    in_make_test = {line.partition("[")[0] for line in found.splitlines()}

    assert [promise for promise, proofs in PROOFS.items() if not in_make_test & {*proofs}] == [
        promise for promise in PROOFS if promise in NOT_IN_MAKE_TEST
    ]


def test_a_tutorial_quotes_the_patch() -> None:
    """A block of `py` is shown only; what it shows is what the reader has applied."""
    quoted = re.findall(r"^```py\n(.*?)^```$", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    added = "".join(re.findall(r"^\+(.*\n)", PATCH.read_text(), re.MULTILINE))

    assert len(quoted) > 3
    assert [block for block in quoted if block.rstrip() not in added] == []


def test_the_patch_of_the_use_case_fits_the_code() -> None:
    """If not, CONTRIBUTING.md says how to repair it: "The worked use case".

    Where somebody has followed the tutorial, it is in the code, and can be taken back.
    """
    assert "" in (refused(), refused("--reverse")), refused()


def refused(*options: str) -> str:
    """Return why the patch cannot be applied, or nothing."""
    command = ("git", "apply", "--check", *options, str(PATCH))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
