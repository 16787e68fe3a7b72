"""The panel can be used by everybody, on every screen."""

import pytest
from aftercommit_tests.extensions.page.processes.browser import page_of
from aftercommit_tests.processes import stat_of, wait_until
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from checks.playground.playing import Playing

pytestmark = pytest.mark.check

WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture
def broken(play: Playing) -> Playing:
    """A playground in which something is frozen, gone, stalled, and found out."""
    play.order("experiments/poison")
    wait_until(lambda: "kept" in [each["state"] for each in play.state()["experiments"]])
    play.order("processes/worker-1", action="freeze")
    play.order("processes/worker-2", action="kill")
    play.order("mail", state="hangs")
    return play


def test_no_rule_of_accessibility_is_violated_on_any_screen(
    broken: Playing, browser: Browser
) -> None:
    """In both languages, light and dark, and nothing is wider than the screen."""
    for scheme, language in (("light", "en-GB"), ("dark", "ru-RU")):
        for width in (360, 768, 1600):
            look = {"width": width, "scheme": scheme, "language": language}
            with page_of(browser, broken.url, token=broken.token, **look) as page:  # type: ignore[arg-type]
                page.locator("#experiment-poison summary").click()
                expect(page.locator("#experiment-poison .found .so")).to_have_count(3)
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                violations = Axe().run(page, options=WCAG).response["violations"]

                assert wide <= 0, look
                assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == [], look


def test_one_button_starts_what_everybody_should_see(play: Playing, browser: Browser) -> None:
    """On a telephone, too, where the steps, and the tree that they change, stay in view."""
    look = {"width": 390, "height": 844}
    with page_of(browser, play.url, token=play.token, **look) as page:  # type: ignore[arg-type]
        start = page.get_by_role("button", name="Kill the worker that sends an e-mail: watch")
        expect(start).to_be_in_viewport(ratio=1)
        start.click()
        expect(page.locator(".tree .node").first).to_be_in_viewport(ratio=1)
        expect(page.locator("#strip .now")).to_be_in_viewport(ratio=1)

        strip = page.get_by_role("region", name="Killed after the commit")
        expect(strip.locator(".verdict")).to_have_text("promise kept")
        expect(strip.locator(".found .so")).not_to_have_count(0)
        expect(page.locator(".tree .node").first).to_be_in_viewport(ratio=1)
        strip.get_by_role("button", name="Close").click()
        expect(strip).to_be_hidden()


def test_a_keyboard_is_enough(page: Page, play: Playing) -> None:
    """To break and repair something, and to begin an experiment; the focus stays where it was."""
    worker = play.pids()["worker-2"]
    page.get_by_role("button", name="Freeze: worker-2").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: play.state()["processes"][2]["state"] == "frozen")
    wait_until(lambda: stat_of(worker)[0] == "T")  # at the second try, perhaps
    page.get_by_role("button", name="Resume: worker-2").focus()
    page.keyboard.press("Enter")
    wait_until(lambda: play.state()["processes"][2]["state"] == "running")
    wait_until(lambda: stat_of(worker)[0] != "T")
    page.get_by_role("radio", name="up").focus()
    page.keyboard.press("ArrowRight")
    wait_until(lambda: play.state()["mail"]["state"] == "refuses")
    expect(page.get_by_role("radio", name="refuses")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    wait_until(lambda: play.state()["mail"]["state"] == "up")
    page.locator("#experiment-poison summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    verdict = page.locator("#experiment-poison .verdict")
    expect(verdict).to_have_text("promise kept")
    expect(page.locator("#said")).to_have_text("Poison: promise kept")


def test_what_is_refused_is_said(page: Page, play: Playing) -> None:
    """Somebody else has begun an experiment just now."""
    page.locator("#experiment-mail summary").click()
    page.route("**/playground/state", lambda route: route.abort())  # it is not seen yet
    play.order("experiments/killed")
    page.locator("#experiment-mail").get_by_role("button", name="Begin").click()

    expect(page.locator("#said")).to_contain_text("is still running")
