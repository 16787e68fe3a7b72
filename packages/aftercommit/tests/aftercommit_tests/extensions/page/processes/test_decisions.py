"""What an operator decides on the page: each decision after a question."""

import pytest
from playwright.sync_api import Page, expect

from aftercommit_tests.extensions.page.processes.browser import confirm, row
from aftercommit_tests.extensions.web.processes.serving import Server
from aftercommit_tests.processes import Installation

pytestmark = pytest.mark.check


@pytest.mark.on("sqlite")
def test_what_is_outstanding_is_discarded_all_that_is_shown(
    installation: Installation, server: Server, page: Page
) -> None:
    """What is not shown stays outstanding; what is for later is shown if it is asked for.

    Or the view would be full, for weeks, of what nobody has to look at.
    """
    server.make_thing()
    page.get_by_role("link", name="Outstanding").click()
    view, items = page.locator("#outstanding"), page.locator("ol.outstanding li")
    expect(items).to_have_count(4)

    view.get_by_label("Handler").select_option("write_down")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    confirm(page, "Discard")
    expect(items).to_have_count(0)
    view.get_by_label("Handler").select_option("")
    expect(items).to_have_count(3)

    discarded = "SELECT handler FROM aftercommit_deliveries WHERE completed_at IS NOT NULL"
    assert installation.rows(discarded) == [("write_down",)]
    items.first.get_by_role("link", name="Trace").click()
    expect(row(page, "lamp").locator(".tree")).to_be_visible()
    page.get_by_role("link", name="Outstanding").click()
    page.get_by_role("button", name="Discard all shown").click()
    confirm(page, "Discard")
    expect(view).to_contain_text("Nothing is outstanding.")
    expect(view).to_contain_text("1 scheduled.")
    view.get_by_role("button", name="Show", exact=True).click()
    expect(items).to_contain_text(["forget"])
    view.get_by_role("button", name="Hide", exact=True).click()
    expect(items).to_have_count(0)


@pytest.mark.on("postgres")
def test_a_handler_is_paused_and_resumed(
    installation: Installation, server: Server, page: Page
) -> None:
    """The page shows which operator it was, also on the map."""
    server.make_thing()
    page.get_by_role("link", name="Outstanding").click()
    announce = page.locator("#outstanding tbody tr", has_text="announce")
    announce.get_by_role("button", name="Pause").click()
    confirm(page, "Pause")
    expect(announce).to_contain_text("by operator@127.0.0.1")
    installation.succeed("worker", "--until-idle")
    expect(page.locator("ol.outstanding li")).to_contain_text(["paused"])

    page.get_by_role("link", name="Map").click()
    page.locator("#handler-map .box.paused").click()
    expect(page.get_by_role("dialog")).to_contain_text("by operator@127.0.0.1")
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("dialog")).to_contain_text("Resume this handler?")
    confirm(page, "Resume")
    expect(page.locator("#handler-map .box.paused")).to_have_count(0)
    assert installation.rows("SELECT * FROM aftercommit_handler_pauses") == []


def test_a_subscription_is_paused_and_resumed_on_the_map(
    installation: Installation, server: Server, page: Page
) -> None:
    """It stands before the command that its messages become."""
    page.get_by_role("link", name="Map").click()
    subscription = page.locator("#handler-map .box", has_text="from.catalogue")
    subscription.click()
    expect(page.get_by_role("dialog")).to_contain_text("exchange catalogue.events (item.listed,")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("dialog")).to_contain_text("Pause this subscription?")
    confirm(page, "Pause")
    expect(page.locator("#handler-map .box.paused")).to_contain_text("from.catalogue")
    paused = installation.rows("SELECT handler FROM aftercommit_handler_pauses")
    assert paused == [("from.catalogue",)]

    subscription.click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    confirm(page, "Resume")
    expect(page.locator("#handler-map .box.paused")).to_have_count(0)
