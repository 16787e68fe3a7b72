"""How a browser gets in: by the token, by a link that is good once; and by any address."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from aftercommit_tests.extensions.page.processes.browser import chromium_with, page_of
from aftercommit_tests.extensions.web.processes.serving import Server, serving
from aftercommit_tests.extensions.web.running import TOKEN
from aftercommit_tests.processes import Installation

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]


def test_a_link_is_good_once_and_nothing_else_is_stored_of_it(
    installation: Installation, browser: Browser, tmp_path: Path
) -> None:
    """The history of a browser keeps what was behind the "#", also when the page has removed it."""
    profile = tmp_path / "profile"
    with serving(installation, token="") as server, chromium_with(profile, browser) as context:
        assert server.process.stdout is not None
        link = server.process.stdout.readline().split()[1]
        page = context.new_page()
        page.goto(link)
        expect(page.locator("#link")).to_have_text("live")
        assert page.url == f"{server.url}/"
        page.goto(link)
        expect(page.locator("#link")).to_have_text("live")
        context.clear_cookies()
        page.goto("about:blank")
        page.goto(link)
        expect(page.get_by_label("Token")).to_be_visible()
        token = server.token

    with closing(sqlite3.connect(profile / "Default" / "History")) as connection:
        visited = [url for (url,) in connection.execute("SELECT url FROM urls")]
    assert any(url.startswith(server.url) for url in visited)
    assert not any(token in url for url in visited)


def test_the_token_is_asked_for_and_a_browser_that_logs_out_is_out(
    browser: Browser, server: Server
) -> None:
    """It is asked for once: then the browser is let in, also by a link from elsewhere."""
    with page_of(browser, server.url, token="another-token-entirely", hash_="#outstanding") as page:
        page.get_by_label("Token").fill("wrong-again-and-again")
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#entry .wrong")).to_have_text("Wrong token.")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#view-outstanding")).to_be_visible()
        assert "token" not in page.url
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.reload()
        expect(page.get_by_label("Token")).to_be_visible()


@pytest.mark.on("sqlite")
@pytest.mark.parametrize("hash_", ["#50%", "#trace=%", "#%ff", "#=", "#nothing=1&2"])
def test_any_address_shows_the_page(browser: Browser, server: Server, hash_: str) -> None:
    """A link that was cut off, or typed wrong."""
    with page_of(browser, server.url, hash_=hash_) as page:
        expect(page.locator("#link")).to_have_text("live")
        expect(page.get_by_role("heading", name="Traces")).to_be_visible()
