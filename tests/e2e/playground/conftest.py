"""A browser, and a playground in it."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.playground.playing import Playing, playing
from tests.e2e.processes import LIMIT_SECONDS, Application

CHROMIUM = os.environ.get("ALLOCATION_TEST_CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Let tests block: Playwright's event loop is in this thread, and none of ours is."""


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser that is there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def play(application: Application) -> Iterator[Playing]:
    """A playground."""
    with playing(application) as play:
        yield play


@pytest.fixture
def page(browser: Browser, play: Playing) -> Iterator[Page]:
    """The page of a playground, with its panel; nothing may go wrong in it."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, locale="en-US")
    page.set_default_timeout(LIMIT_SECONDS * 1000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(play.address)
    yield page
    assert troubles == []
