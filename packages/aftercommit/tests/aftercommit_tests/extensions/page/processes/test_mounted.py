"""The page in an application of others, in a real browser: behind their login, and never framed."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from aftercommit_tests.extensions.page.processes.browser import confirm, delivery, row
from aftercommit_tests.processes import LIMIT_SECONDS, a_free_port, asked, wait_until
from aftercommit_tests.warm import SOURCES, WarmProcess

pytestmark = [pytest.mark.on("sqlite"), pytest.mark.check]

APPLICATION = f"{__package__}.shop_with_page:app"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The application, served by uvicorn."""
    port = a_free_port()
    command = (sys.executable, "-m", "uvicorn", APPLICATION, "--log-level=warning")
    environment = {
        "PYTHONPATH": f"{SOURCES}:{Path(__file__).parents[4]}",
        "SHOP_ENGINE": f"sqlite+aiosqlite:///{tmp_path}/shop.db",
        "SCRAPER_TOKEN": "t0ken",
        "PATH": "/usr/bin",
    }
    process = WarmProcess((*command, f"--port={port}"), cwd=tmp_path, env=environment)
    try:
        wait_until(lambda: asked(port, "/docs")[0] > 0 or process.poll() is not None)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser in which nobody has signed in."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, locale="en-GB", reduced_motion="reduce"
    )
    context.set_default_timeout(LIMIT_SECONDS * 1000)
    yield context
    context.close()


def picture(page: Page, name: str) -> None:
    """Keep a picture, if a folder for pictures is named."""
    if folder := os.environ.get("ALLOCATION_TEST_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def test_a_named_operator_retries_what_is_parked(url: str, context: BrowserContext) -> None:
    """Behind the login of the shop; the trace says who it was, and why."""
    refused = context.new_page()
    answer = refused.goto(f"{url}/admin/outbox/")
    assert answer
    assert answer.status == 401

    context.request.post(f"{url}/login/maria@shop.example")
    for number in (7, 8):
        assert context.request.post(f"{url}/orders/{number}").ok
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(f"{url}/admin/outbox")
    assert page.url == f"{url}/admin/outbox/"
    expect(page.locator(".trace")).to_have_count(2)
    expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    expect(page.get_by_label("Token")).to_be_hidden()
    row(page, "1 parked").first.click()
    parked = delivery(page, "print_label").first
    expect(parked).to_contain_text("the printer is out of paper")
    picture(page, "traces")

    parked.get_by_role("button", name="Retry").click()
    confirm(page, "Retry")

    expect(delivery(page, "print_label").first).to_contain_text("maria@shop.example")
    picture(page, "retried")
    page.get_by_role("link", name="Outstanding").click()
    expect(page.locator("ol.outstanding li").first).to_contain_text("print_label")
    picture(page, "outstanding")
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#handler-map")).to_contain_text("print_label")
    picture(page, "map")
    assert errors == []

    context.request.post(f"{url}/logout")
    expect(page.get_by_role("alert").first).to_contain_text("sign in to the application")
    expect(page.get_by_label("Token")).to_be_hidden()
    picture(page, "signed-out")


def test_nobody_frames_it_or_sends_decisions_from_another_origin(
    url: str, context: BrowserContext
) -> None:
    """A page of another port of this host is the same site: it has the cookie, and gets nothing."""
    context.request.post(f"{url}/login/maria")
    path = "/admin/outbox/deliveries/0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69/reserve/retry"
    framing = f'<iframe src="{url}/admin/outbox/"></iframe>'
    content = f'{framing}<form method="post" action="{url}{path}"></form>'
    foreign = "http://127.0.0.1:8/"
    context.route(foreign, lambda route: route.fulfill(body=content, content_type="text/html"))
    page = context.new_page()

    page.goto(foreign)
    wait_until(lambda: page.frames[1].url.startswith("chrome-error:"))
    with page.expect_navigation() as sent:
        page.evaluate("document.forms[0].submit()")

    answer = sent.value
    assert "user=maria" in answer.request.all_headers()["cookie"]
    assert answer.status == 403
