"""The pictures of docs/extensions.md: `make screenshots` has them taken anew."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.extensions.page.browser import page_of
from tests.e2e.extensions.web.serving import Server, serving
from tests.e2e.mail import MailFolder
from tests.e2e.processes import ROOT, Application, wait_until

PICTURES = ROOT / "docs" / "page"
PATIENT = {"retry_initial_seconds": "0.8", "retry_factor": "2", "max_attempts": "4"}

pytestmark = pytest.mark.skipif(
    "ALLOCATION_SCREENSHOTS" not in os.environ, reason="nobody has asked for them"
)


@pytest.fixture
def eventful(tmp_path: Path, mail_folder: MailFolder) -> Iterator[Server]:
    """A server after good and bad moments: twice, e-mails could not be kept for a while."""
    beside = f"maildir:{mail_folder.folder.name}"  # so no picture shows where the test ran
    settings = {"dispatch": "worker", "mail_url": beside, **PATIENT}
    application = Application(tmp_path, settings=settings)
    assert application.run("add-coupon-batch", "WELCOME", "5").returncode == 0
    with ExitStack() as opened:
        server = opened.enter_context(serving(application))
        client = opened.enter_context(server.client())
        for name in ("worker-1", "worker-2"):
            opened.enter_context(application.running("worker", instance_name=name))
        for name in ("Дарья", "Ólafur", "Maja"):
            register(client, name)
        wait_until(lambda: client.get("/deliveries").json() == [])
        mail_folder.folder.rename(tmp_path / "mail-of-before")
        mail_folder.refusing = True
        register(client, "Иван")
        wait_until(lambda: len(parked(client)) == 2)
        register(client, "Zoë")
        wait_until(lambda: failed_twice(application))
        mail_folder.refusing = False
        wait_until(lambda: client.get("/deliveries").json() == parked(client))
        register(client, "Мария")
        wait_until(lambda: client.get("/deliveries").json() == parked(client))
        yield server


def register(client: httpx.Client, name: str) -> None:
    address = f"{name.lower()}@example.com".replace("ó", "o").replace("ë", "e")
    assert client.post("/users", json={"name": name, "email": address}).status_code == 201


def parked(client: httpx.Client) -> list[object]:
    rows: list[object] = client.get("/deliveries?state=parked").json()
    return rows


def failed_twice(application: Application) -> bool:
    waiting = (
        "SELECT 1 FROM aftercommit_deliveries JOIN aftercommit_failures USING (event_id, handler)"
    )
    return len(application.rows(f"{waiting} WHERE parked_at IS NULL AND attempt = 2")) == 2


def test_pictures_of_the_page_are_taken(eventful: Server, browser: Browser) -> None:
    """In light and dark; the map, and what is outstanding."""
    PICTURES.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        with page_of(browser, eventful.url, scheme=scheme, height=760) as page:
            page.locator(".row", has_text="Zoë").click()
            expect(page.locator(".node .bar.broken")).to_have_count(4)
            page.screenshot(path=PICTURES / f"traces-{scheme}.png")
            view = {"light": "map", "dark": "outstanding"}[scheme]
            page.goto(f"{eventful.url}/#{view}")
            expect(page.locator(f"#view-{view} button").last).to_be_visible()
            page.screenshot(path=PICTURES / f"{view}-{scheme}.png")
