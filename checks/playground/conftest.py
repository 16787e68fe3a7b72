"""A playground, and its page in a browser, which is that of the module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aftercommit_tests.extensions.page.processes.browser import page_of
from aftercommit_tests.extensions.page.processes.conftest import blockbuster, browser
from playwright.sync_api import Browser, Page

from checks.playground.playing import Playing, playing
from checks.processes import Application

__all__ = ["application", "blockbuster", "browser", "page", "play"]


@pytest.fixture
def application(tmp_path: Path) -> Application:
    """A folder for the playground's processes."""
    return Application(tmp_path)


@pytest.fixture
def play(application: Application) -> Iterator[Playing]:
    """A playground."""
    with playing(application) as play:
        yield play


@pytest.fixture
def page(browser: Browser, play: Playing) -> Iterator[Page]:  # a fixture
    """The page, with its panel."""
    with page_of(browser, play.url, token=play.token, width=1440, height=1000) as page:
        yield page
