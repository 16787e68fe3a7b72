"""The application's form on the page, in a real browser: a user registers, and the trace grows."""

from collections.abc import Iterator

import pytest
from aftercommit_tests.extensions.page.processes.browser import chromium, page_of, row
from aftercommit_tests.extensions.web.processes.serving import serving
from playwright.sync_api import Browser, expect

from checks.processes import Application

pytestmark = pytest.mark.check


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


@pytest.fixture
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


def test_a_user_registers_by_the_form(application: Application, browser: Browser) -> None:
    """By the keyboard alone; the form is empty then, and what becomes of it comes by itself."""
    with serving(application) as server, page_of(browser, server.url) as page:
        page.get_by_label("E-mail", exact=True).fill("nobody")
        page.get_by_label("Name").fill("Иван")
        page.keyboard.press("Enter")
        expect(page.locator("#register .wrong")).to_contain_text("nobody")
        page.keyboard.press("Tab")
        page.keyboard.type("ivan@example.com")
        page.keyboard.press("Enter")

        trace = row(page, "register_user Иван ivan@example.com")
        expect(trace).to_have_attribute("data-state", "done")
        expect(page.get_by_label("Name")).to_have_value("")
        expect(page.get_by_label("Name")).to_be_focused()
