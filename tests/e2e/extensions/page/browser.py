"""A real browser: Debian's Chromium, driven by Playwright's client, which brings none itself."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.processes import LIMIT_SECONDS, Application
from tests.web import TOKEN

HOW_TO_GET_IT = "no Chromium is installed: `apt-get install chromium`, or ALLOCATION_TEST_CHROMIUM"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage"]
QUICK = {"retry_initial_seconds": "0.5", "retry_factor": "1", "max_attempts": "2"}

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


def register(page: Page, name: str, email: str) -> None:
    """Register a user by the form."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail", exact=True).fill(email)
    page.get_by_role("button", name="Register a user").click()


@contextmanager
def working(application: Application, **settings: str) -> Iterator[None]:
    """Run a worker beside the test."""
    with application.running("worker", instance_name="worker-1", **settings):
        yield
