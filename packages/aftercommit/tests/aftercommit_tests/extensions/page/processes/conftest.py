"""A browser, and a page that is open.

The browser is that of the module: as long as Playwright's client is used, its event loop is the
running one in this thread.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from aftercommit_tests.extensions.page.processes.browser import chromium, page_of, working
from aftercommit_tests.extensions.web.processes.conftest import backend
from aftercommit_tests.extensions.web.processes.serving import Server, serving
from aftercommit_tests.processes import Installation, wait_until

__all__ = ["backend"]


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def installation(on_each: Installation) -> Installation:
    """The application on each database; processes leave to workers what they cause."""
    on_each.settings["dispatch"] = "worker"
    return on_each


@pytest.fixture
def server(installation: Installation) -> Iterator[Server]:
    """The server."""
    with serving(installation) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open."""
    with page_of(browser, server.url) as page:
        yield page


@pytest.fixture
def eventful(installation: Installation, server: Server) -> Server:
    """A server where something was done, something is parked, and something is due."""
    away = {"bell_file": "nowhere/bell.txt", "retry_initial_seconds": "0.5", "max_attempts": "1"}
    with server.client() as client, working(installation, **away):
        server.make_thing("лампа")
        wait_until(lambda: len(client.get("/deliveries?state=parked").json()) == 2)
    server.make_thing("😀" * 100)
    return server
