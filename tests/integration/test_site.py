"""The site is built from the pages of the repository, whole, and from nothing else."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.exceptions import Abort

from tests.generated import PAGES
from tools import site as building

ROOT = Path(__file__).parents[2]
NOT_THERE = {
    "a page": "[here](nowhere.md)",
    "a file": "[here](nowhere.py)",
    "a picture": "![here](nowhere.svg)",
    "a heading": "[here](#nowhere)",
    "a heading of another page": "[here](other.md#nowhere)",
}


class Page(HTMLParser):
    """What a page of the site leads to, what it loads, and what can be led to in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.navigation: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.policies: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values.get("id", ""), values.get("name", "")}
        self.loads |= {value for name, value in values.items() if name in {"src", "srcset"}}
        if tag == "link":
            self.loads.add(values["href"])
        elif "href" in values:
            self.links.add(unquote(values["href"]))
        if "md-nav__link" in values.get("class", "") and "href" in values:
            self.navigation.add(unquote(values["href"]))
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(values["content"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All its pages. The one for what is not there does not know where it stands."""
    files = (file for file in site.rglob("*.html") if file.name != "404.html")
    return {file: Page(file) for file in files}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Also those that the theme and the reference make, and those in plain HTML."""
    assert [
        f"{file.relative_to(site)}: {link}"
        for file, page in pages.items()
        for link in page.links | page.loads
        if not urlsplit(link).scheme and not leads_somewhere(file, link, pages)
    ] == []


def leads_somewhere(file: Path, link: str, pages: dict[Path, Page]) -> bool:
    path, fragment = urlsplit(link).path, urlsplit(link).fragment
    to = (file.parent / path).resolve() if path else file
    if to.is_dir():
        to /= "index.html"
    return to.exists() and (not fragment or fragment == "__skip" or fragment in pages[to].ids)


def test_every_page_of_the_repository_is_in_the_navigation(
    pages: dict[Path, Page], site: Path
) -> None:
    """What nobody finds might as well not be there."""
    listed = pages[site / "index.html"].navigation

    assert [str(page) for page in PAGES if shown_at(page) not in listed] == []


def shown_at(page: Path) -> str:
    """Return where the site has a page of the repository."""
    name = str(page.relative_to(ROOT).with_suffix(".html"))
    return name.replace("README.html", "index.html")


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """It can be read without a network, and tells nobody who reads what."""
    styles = "".join(file.read_text() for file in site.rglob("*.css"))

    for page in pages.values():
        assert not [url for url in page.loads if urlsplit(url).netloc]
        assert page.policies == ["default-src 'self' 'unsafe-inline' data:"]
    assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", styles)


def test_every_diagram_has_its_script(site: Path) -> None:
    """Else the theme would ask another host for it, and be refused."""
    drawn = 0
    for source in PAGES:
        text = (site / shown_at(source)).read_text()
        diagrams = len(re.findall(r"^```mermaid$", source.read_text(), re.MULTILINE))
        assert text.count('class="mermaid"') == diagrams
        assert ("mermaid.js" in text) == bool(diagrams)
        drawn += diagrams

    assert drawn > 5


def test_the_reference_has_what_is_public(site: Path) -> None:
    """Its text is what the docstrings promise, with what is raised."""
    text = (site / "reference" / "allocation.html").read_text()

    assert 'id="allocation.bootstrap.bootstrap"' in text
    assert "if the database cannot be used as it is" in text
    assert ":raises" not in text


def test_words_are_found_in_pages_and_not_in_files(site: Path) -> None:
    """Whoever searches for a word wants what is told of it first."""
    index = (site / "search" / "search_index.json").read_text()

    assert '"location":"docs/glossary.html#' in index
    assert '"location":"reference/allocation.domain.html#' in index
    assert ".py.html" not in index


@pytest.mark.parametrize("link", NOT_THERE.values(), ids=NOT_THERE)
def test_what_is_not_there_is_an_error(
    link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that leads nowhere is found when it is written, not when it is read."""
    configuration = (ROOT / "mkdocs.yml").read_text()
    nav = "nav: [README.md, other.md]\n\ntheme:"
    project = tmp_path / "project"
    project.mkdir()
    (project / "mkdocs.yml").write_text(
        re.sub(r"(?s)^nav:.*?^theme:", nav, configuration, flags=re.M)
    )
    (project / "other.md").write_text("# Other\n")
    (project / "README.md").write_text(f"# Project\n\n{link}\n")
    monkeypatch.setattr(building, "ROOT", project)

    with pytest.raises(Abort):
        building.build_site(tmp_path / "site")
