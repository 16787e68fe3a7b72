"""A playground, and its page in a browser, which is that of the module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.e2e.extensions.page.browser import chromium, page_of
from tests.e2e.processes import Application
from tests.project.playground.playing import Playing, playing


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """A folder for the playground's processes."""
    return Application(tmp_path)


@pytest.fixture
def play(application: Application) -> Iterator[Playing]:
    """A playground."""
    with playing(application) as play:
        yield play


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, play: Playing) -> Iterator[Page]:
    """The page, with its panel."""
    with page_of(browser, play.url, token=play.token, width=1440, height=1000) as page:
        yield page
