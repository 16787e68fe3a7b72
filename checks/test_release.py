"""What others read about the project says the same everywhere, and is what they install."""

import re
import tomllib
from importlib.metadata import version
from typing import Any

import pytest
import yaml

from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from tools.repository import ROOT

pytestmark = pytest.mark.check

PROJECTS: dict[str, dict[str, Any]] = {
    each["project"]["name"]: each["project"]
    for file in (ROOT / "pyproject.toml", *ROOT.glob("packages/*/pyproject.toml"))
    for each in [tomllib.loads(file.read_text())]
}
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
TITLE = re.compile(r"^## ([\w-]+) (\d+\.\d+\.\d+) – (\d{4}-\d\d-\d\d|unreleased)$", re.MULTILINE)
PART = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BREAKING = "### Breaking changes, each with what to do"


def test_the_version_is_the_same_everywhere() -> None:
    """Anyone who cites, installs or reads what is new means one thing."""
    written = {CITATION["version"], version("allocation"), PROJECTS["allocation"]["version"]}
    newest: dict[str, tuple[str, str]] = {}
    for name, number, day in TITLE.findall(CHANGELOG):
        newest.setdefault(name, (number, day))

    assert len(written) == 1
    assert {name: number for name, (number, _) in newest.items()} == {
        name: project["version"] for name, project in PROJECTS.items()
    }
    assert str(CITATION.get("date-released", "unreleased")) == newest["allocation"][1]


def later_than_others(changelog: str) -> list[str]:
    """Return the parts of a changelog whose breaking changes do not stand first."""
    parts = {
        title: re.findall(r"^### .*$", text, re.MULTILINE)
        for title, text in PART.findall(changelog)
    }
    return [title for title, headings in parts.items() if BREAKING in headings[1:]]


def test_what_breaks_stands_first_in_each_part_of_the_changelog() -> None:
    """Anyone who upgrades reads the top of the part of what they have, and may stop there."""
    assert later_than_others(CHANGELOG) == []
    assert later_than_others(f"## shop 2.0.0\n\n### Added\n\n{BREAKING}\n") == ["shop 2.0.0"]


SPEAKS_OF = re.compile(
    r"(?i)\b(?:version|versions|until|before|drafts?|since|of|engine) 0\.[124]\b|aftercommit_0\d{3}"
)


def test_no_page_and_no_code_speaks_of_versions_that_nobody_has() -> None:
    """The first version is the one that is here: a reader would have to know others for nothing."""
    folders = (
        "src",
        "docs",
        "packages/aftercommit/docs",
        "packages/aftercommit/src",
        "packages/sqlalchemy-anyio/src",
    )
    files = [
        file
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".pyi", ".sql", ".md", ".toml", ".yaml", ".txt"}
    ]

    assert len(files) > 300
    assert SPEAKS_OF.search("the processes of 0.2 take it")
    assert [
        (str(file.relative_to(ROOT)), found[0])
        for file in files
        if (found := SPEAKS_OF.search(file.read_text()))
    ] == []


def test_only_an_address_that_nobody_can_own_stands_for_the_one_that_is_not_known() -> None:
    """A made-up one on a real host may be a stranger's, to whom our readers would be led."""
    urls = [url for project in PROJECTS.values() for url in project["urls"].values()]
    [address] = {project["urls"]["Source"] for project in PROJECTS.values()}

    assert len(urls) == 15
    assert [
        url for url in [*urls, CITATION["repository-code"]] if not url.startswith(address)
    ] == []
    paths = [url.partition("/blob/main/")[2] for url in urls]
    assert [path for path in paths if path and not (ROOT / path).exists()] == []


def test_what_a_broker_lets_others_do_is_written_where_they_look() -> None:
    """A message has no proof of who sent it; anyone who sets up the broker has to know."""
    security = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`([A-Z]\w+[a-z]\w+)`", security))

    assert named == {command.__name__ for command in ACCEPTED_FROM_BROKERS}


def test_every_extension_has_an_extra_of_its_name() -> None:
    """What is missing is installed by the name of the folder."""
    engine = ROOT / "packages" / "aftercommit"
    extras = tomllib.loads((engine / "pyproject.toml").read_text())["project"]
    folders = {file.parent.name for file in engine.glob("src/*/extensions/*/__init__.py")}

    assert len(folders) > 5
    assert folders <= extras["optional-dependencies"].keys()
