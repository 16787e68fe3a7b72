"""A playground, and its page in a browser, which is started last, for each test."""

from collections.abc import Iterator
from zlib import crc32

import pytest
from playwright.sync_api import Browser, Page

from allocation.rooms import EVENT_LOOPS
from tests.e2e.page.browser import chromium, page_of
from tests.e2e.playground.playing import Playing, playing
from tests.e2e.processes import Application


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """One of the event loops, as the test's name says: a playground is five processes to start."""
    return EVENT_LOOPS[crc32(request.node.name.encode()) % len(EVENT_LOOPS)]


@pytest.fixture
def play(application: Application) -> Iterator[Playing]:
    """A playground."""
    with playing(application) as play:
        yield play


@pytest.fixture
def browser(play: Playing) -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, play: Playing) -> Iterator[Page]:
    """The page, with its panel."""
    with page_of(browser, play.url, token=play.token, width=1440, height=1000) as page:
        yield page
