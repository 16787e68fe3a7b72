"""What somebody sees who reads the documentation in a browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.extensions.page.browser import page_of

NARROW = 390
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
PAGES = ("index.html", "docs/guarantees.html", "docs/performance.html", "docs/wiring.html")


class Silent(SimpleHTTPRequestHandler):
    """Tells nobody what was asked for."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name it has there
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_site_can_be_read_by_everybody_and_needs_no_other_host(
    site: Path, browser: Browser
) -> None:
    """Diagrams are drawn, words are found, and nothing is asked of anybody else."""
    asked: list[str] = []

    with served(site) as url:
        for scheme in ("light", "dark"):
            with page_of(browser, url, token=None, width=NARROW, scheme=scheme) as page:
                page.on("request", lambda request: asked.append(request.url))
                for name in PAGES:
                    page.goto(f"{url}/{name}")
                    assert page.evaluate("document.documentElement.scrollWidth") == NARROW, name
                    results = Axe().run(page, options=WCAG)
                    assert results.violations_count == 0, results.generate_report()
                assert_it_is_drawn(page)
                search(page, "fencing token")
                expect(page.locator(".md-search-result__list")).to_contain_text("Glossary")

    assert f"{url}/mermaid.js" in asked
    assert [other for other in asked if not other.startswith(f"{url}/")] == []


def assert_it_is_drawn(page: Page) -> None:
    """The text of each diagram is replaced by the picture, or by nothing."""
    diagrams = page.locator("div.mermaid")
    expect(diagrams).to_have_count(2)
    for diagram in diagrams.all():
        expect(diagram).to_be_visible()
        box = diagram.bounding_box()
        assert box
        assert box["height"] > 100


def search(page: Page, words: str) -> None:
    page.locator("label[for=__search].md-header__button").click()
    page.get_by_role("textbox", name="Search").press_sequentially(words)
