"""A browser, and a page that is open.

The browser is that of the module: as long as Playwright's client is used, its event loop is the
running one in this thread.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.extensions.page.browser import chromium, page_of
from tests.e2e.extensions.web.serving import Server, serving
from tests.e2e.mail import MailFolder
from tests.e2e.processes import Application


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def application(on_each: Application, mail_folder: MailFolder) -> Application:
    """The application on each database; processes leave to workers what they cause."""
    on_each.settings |= {"dispatch": "worker", "mail_url": mail_folder.url}
    return on_each


@pytest.fixture
def server(application: Application) -> Iterator[Server]:
    """The server."""
    with serving(application) as server:
        yield server


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """The page, open."""
    with page_of(browser, server.url) as page:
        yield page
