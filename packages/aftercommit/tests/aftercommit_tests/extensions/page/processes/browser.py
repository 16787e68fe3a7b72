"""A real browser: Debian's Chromium, driven by Playwright's client, which brings none itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from aftercommit_tests.extensions.web.running import TOKEN
from aftercommit_tests.processes import LIMIT_SECONDS, PATIENCE, Installation

HOW_TO_GET_IT = "no Chromium is installed: `apt-get install chromium`, or ALLOCATION_TEST_CHROMIUM"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage"]
VIEWS = ("traces", "map", "outstanding")
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

expect.set_options(timeout=LIMIT_SECONDS * 1000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_chromium(), args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def chromium_with(profile: Path, beside: Browser) -> Iterator[BrowserContext]:
    """Run another browser, as somebody has it who has used it before: it keeps a history."""
    context = beside.browser_type.launch_persistent_context(
        profile, executable_path=installed_chromium(), args=[*OPTIONS, "--headless=new"]
    )
    context.set_default_timeout(LIMIT_SECONDS * 1000)
    yield context
    context.close()


def installed_chromium() -> str:
    """Return where the browser is; if there is none, say how to get it."""
    path = os.environ.get("ALLOCATION_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(HOW_TO_GET_IT)
        pytest.skip(HOW_TO_GET_IT)
    return path


@contextmanager
def page_of(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 800,
    scheme: str = "light",
    language: str = "en-GB",
    token: str | None = TOKEN,
    hash_: str = "",
) -> Iterator[Page]:
    """Open the page as somebody does who is let in; an error in it is one of the test.

    What the network says when it is cut is none.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale=language,
        reduced_motion="reduce",
    )
    if token:
        context.request.post(f"{url}/page/session", data={"token": token})
    page = context.new_page()
    errors: list[str] = []
    page.set_default_timeout(LIMIT_SECONDS * 1000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("console", lambda m: errors.append(m.text) if "Content Security" in m.text else None)
    page.goto(f"{url}/{hash_}")
    yield page
    context.close()
    assert errors == []


@contextmanager
def working(installation: Installation, **settings: str) -> Iterator[None]:
    """Run a worker beside the test, in which nothing ends by time."""
    with installation.running("worker", instance_name="worker-1", **PATIENCE, **settings):
        yield


def row(page: Page, about: str) -> Locator:
    """Return the row of a trace."""
    return page.locator(".trace", has=page.locator(".row", has_text=about))


def delivery(page: Page, handler: str) -> Locator:
    """Return a delivery in the tree of a trace that is open."""
    return page.locator(".node.delivery", has_text=handler)


def confirm(page: Page, what: str) -> None:
    """Press a button in the dialog."""
    page.get_by_role("dialog").get_by_role("button", name=what, exact=True).click()


def show_all(page: Page, traces: int) -> None:
    """Open all traces, when there are so many."""
    expect(page.locator(".trace")).to_have_count(traces)
    for line in page.locator(".row").all():
        line.click()


def go_to(page: Page, view: str) -> None:
    """Show a view, and wait until something is in it."""
    page.goto(f"{page.url.partition('#')[0]}#{view}")
    expect(page.locator(f"#view-{view}")).to_be_visible()
    expect(page.locator("#main section:not([hidden]) button").first).to_be_visible()


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than what shows it."""
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(wider))


def assert_accessible(page: Page) -> None:
    """Fail where axe-core finds a rule of WCAG that is violated."""
    results = Axe().run(page, options=WCAG)
    assert results.violations_count == 0, results.generate_report()
