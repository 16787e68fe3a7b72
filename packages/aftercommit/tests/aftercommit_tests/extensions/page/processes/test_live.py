"""What a viewer sees who has the page open all the time, and does not reload it."""

import os
import re
import signal

import pytest
from playwright.sync_api import Browser, Page, expect

from aftercommit_tests.extensions.page.processes.browser import (
    confirm,
    delivery,
    page_of,
    row,
    working,
)
from aftercommit_tests.extensions.web.processes.serving import Server, serving
from aftercommit_tests.processes import PATIENCE, Installation, a_free_port, wait_until

pytestmark = [pytest.mark.on("postgres"), pytest.mark.check]


@pytest.mark.on("sqlite")
def test_a_tree_grows_while_somebody_looks(
    installation: Installation, server: Server, page: Page
) -> None:
    """What becomes of a command comes by itself."""
    server.make_thing()
    trace = row(page, "make_thing lamp")
    expect(trace).to_have_attribute("data-state", "due")
    trace.locator(".row").click()
    expect(trace.locator(".node")).to_have_count(7)
    expect(delivery(page, "announce")).to_contain_text("due for")

    with working(installation):
        expect(trace).to_have_attribute("data-state", "scheduled")

    done = delivery(page, "announce")
    expect(done).to_contain_text(re.compile(r"done in (\d+ ms|[\d.]+ s) · worker-1 · token 2"))
    expect(trace.locator(".node.event", has_text="thing_polished")).to_be_visible()
    expect(delivery(page, "forget")).to_contain_text(re.compile(r"due in (23 h|1 d)"))
    wide = "el => el.getBoundingClientRect().width"
    assert done.locator(".bar.good").evaluate(wide) >= 3
    begins = "bars => new Set(bars.slice(0, 2).map(bar => bar.getBoundingClientRect().left)).size"
    assert trace.locator(".bar.command, .bar.event").evaluate_all(begins) == 1

    def two_hours_pass() -> bool:  # again, if news from the server have set the clock
        page.evaluate("{ const real = Date.now; Date.now = () => real() + 7_200_000; }")
        page.wait_for_timeout(2000)
        return "23 h" not in delivery(page, "forget").inner_text()

    wait_until(two_hours_pass)
    expect(delivery(page, "forget")).to_contain_text(re.compile(r"due in [12]?\d h"))
    assert re.search(r"(ms|[\d.]+ s) in all", trace.locator(".facts").inner_text())


@pytest.mark.on("sqlite")
def test_what_has_no_description_is_shown_with_its_subject(server: Server, page: Page) -> None:
    """So a row is not only the name of a command."""
    made = server.make_thing(".hidden").json()

    expect(row(page, f"make_thing {made['thing_id']}")).to_be_visible()


@pytest.mark.on("sqlite")
def test_what_fails_is_tried_parked_and_retried_by_hand(
    installation: Installation, server: Server, page: Page
) -> None:
    """All in a page that was open all the time; the reason is told in full."""
    installation.settings["bell_file"] = "away/bell.txt"
    server.make_thing()
    trace, failing = row(page, "lamp"), delivery(page, "announce")
    trace.locator(".row").click()
    with working(installation, retry_initial_seconds="900", max_attempts="2"):
        expect(failing).to_contain_text("retry in")
        expect(failing).to_contain_text("attempt 1 failed")
        expect(failing).to_contain_text("no bell in away")
        wait_until(lambda: installation.count("aftercommit_failures") == 2)  # and praise has
        installation.end_leases()
        expect(failing).to_contain_text("parked")
        expect(trace).to_have_attribute("data-state", "parked")
        expect(page.locator("#outstanding-count")).to_have_text("2")

        (installation.folder / "away").mkdir()
        for handler in ("announce", "praise"):
            delivery(page, handler).get_by_role("button", name="Retry").click()
            confirm(page, "Retry")
            expect(delivery(page, handler)).to_contain_text("done in")

    expect(trace).to_have_attribute("data-state", "scheduled")
    expect(page.locator("#outstanding-count")).to_have_text("")
    assert installation.rung == ["lamp", "lamp shines"]
    assert "retry of announce for event" in server.log()


def test_a_lease_counts_down_and_another_process_takes_over(
    installation: Installation, server: Server, page: Page
) -> None:
    """Which has it in hand, at which attempt, with which token; and which had it before."""
    os.mkfifo(installation.folder / "bell.txt")  # that nobody reads
    server.make_thing()
    row(page, "lamp").locator(".row").click()
    hanging = delivery(page, "announce")
    running = r"running · attempt {0} · lease \d+ min( \d+ s)? · worker-{0} · token {1}"
    with installation.running("worker", instance_name="worker-1", **PATIENCE) as first:
        expect(hanging).to_contain_text(re.compile(running.format(1, 2)))
        first.kill()
    installation.end_leases()
    expect(hanging).to_contain_text("lease expired")

    with installation.running("worker", instance_name="worker-2", **PATIENCE):
        expect(hanging).to_contain_text(re.compile(running.format(2, 3)))
        expect(hanging).to_contain_text(re.compile("attempt 1 failed .*, worker-1: it had not"))
        expect(hanging.locator(".bar.broken")).to_have_count(1)
        expect(hanging.locator(".bar.busy")).to_have_count(1)


def test_a_page_that_was_cut_off_says_so_and_catches_up(
    installation: Installation, browser: Browser
) -> None:
    """The server dies, and comes back; the page is the same."""
    port = a_free_port()
    with serving(installation, port=port) as first, page_of(browser, first.url) as page:
        first.make_thing()
        row(page, "lamp").locator(".row").click()
        first.process.send_signal(signal.SIGKILL)
        expect(page.get_by_role("alert").first).to_contain_text("Cut off from the server")
        expect(page.locator("#link")).to_have_text("cut off")

        with serving(installation, port=port), working(installation):
            expect(page.locator("#link")).to_have_text("live")
            expect(page.locator("#banner")).to_be_hidden()
            expect(row(page, "lamp")).to_have_attribute("data-state", "scheduled")
            expect(delivery(page, "write_down")).to_contain_text("worker-1")


DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_what_is_read_further_down_stays_there(server: Server, browser: Browser) -> None:
    """What is new comes in above, and nothing moves under the eyes of the reader."""
    for number in range(30):
        server.make_thing(f"thing {number}")
    with page_of(browser, server.url, height=500) as page:
        rows = page.locator(".trace")
        expect(rows).to_have_count(30)
        page.evaluate("scrollTo(0, 800)")
        page.evaluate(DRAWN)
        page.evaluate("window.read = document.elementFromPoint(300, 250)")
        before = page.evaluate("read.getBoundingClientRect().top")
        for number in range(30, 36):
            server.make_thing(f"thing {number}")
            expect(rows).to_have_count(number + 1)
            page.evaluate(DRAWN)
            assert abs(page.evaluate("read.getBoundingClientRect().top") - before) < 2
