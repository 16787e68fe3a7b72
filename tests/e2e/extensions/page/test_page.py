"""What somebody sees who has the page open all the time, and does not reload it."""

import re
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.extensions.page.browser import QUICK, chromium_with, page_of, register, working
from tests.e2e.extensions.web.serving import Server, serving
from tests.e2e.mail import MailFolder
from tests.e2e.processes import Application, wait_until
from tests.web import OPERATOR, TOKEN

EMOJI = "И" + "😀" * 199  # as long as a name may be
HANGING = ("tests.e2e.hanging", "wait")
VIEWS = ("traces", "map", "outstanding")
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def row(page: Page, about: str) -> Locator:
    """Return the row of a trace."""
    return page.locator(".trace", has=page.locator(".row", has_text=about))


def delivery(page: Page, handler: str) -> Locator:
    """Return a delivery in the tree of a trace that is open."""
    return page.locator(".node.delivery", has_text=handler)


def confirm(page: Page, what: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=what, exact=True).click()


def test_a_tree_grows_while_somebody_looks(application: Application, page: Page) -> None:
    """The form sends an order; what becomes of it comes by itself."""
    register(page, "Иван", "ivan@example.com")
    trace = row(page, "Иван ivan@example.com")
    expect(trace).to_have_attribute("data-state", "due")
    trace.locator(".row").click()
    expect(trace.locator(".node")).to_have_count(6)
    expect(delivery(page, "send_welcome_email")).to_contain_text("due for")

    with working(application):
        expect(trace).to_have_attribute("data-state", "done")

    welcome = delivery(page, "send_welcome_email")
    expect(welcome).to_contain_text(re.compile(r"done in (\d+ ms|[\d.]+ s) · worker-1 · token 2"))
    expect(trace.locator(".node.event", has_text="coupon_denied")).to_be_visible()
    assert page.get_by_label("Name").input_value() == ""
    wide = "el => el.getBoundingClientRect().width"
    assert welcome.locator(".bar.good").evaluate(wide) >= 3


def test_what_fails_is_tried_parked_and_retried_by_hand(
    application: Application, server: Server, page: Page, mail_folder: MailFolder
) -> None:
    """All in a page that was open all the time; the reason is told in full."""
    mail_folder.refusing = True
    with working(application, **QUICK | {"retry_initial_seconds": "2"}):
        register(page, "Мария", "maria@example.com")
        trace = row(page, "Мария maria@example.com")
        trace.locator(".row").click()
        welcome = delivery(page, "send_welcome_email")
        expect(welcome).to_contain_text("retry in")
        expect(welcome).to_contain_text("attempt 1 failed")
        expect(welcome).to_contain_text(f"File exists: '{mail_folder.folder}'")
        expect(welcome).to_contain_text("parked")
        expect(trace).to_have_attribute("data-state", "parked")
        expect(page.locator("#outstanding-count")).to_have_text("1")

        mail_folder.refusing = False
        welcome.get_by_role("button", name="Retry").click()
        confirm(page, "Retry")
        expect(welcome).to_contain_text("done in")

    expect(trace).to_have_attribute("data-state", "done")
    expect(page.locator("#outstanding-count")).to_have_text("")
    assert [recipient for recipient, _, _ in mail_folder.received] == ["maria@example.com"]
    server.stop()
    assert server.process.stderr is not None
    assert "retry of send_welcome_email for event" in server.process.stderr.read()


def test_a_lease_counts_down_and_another_process_takes_over(
    application: Application, browser: Browser
) -> None:
    """Which has it in hand, at which attempt, with which token; and who had it before."""
    # a busy process has more than a second to begin what it claims, or would give it back
    lease = {"lease_seconds": "6", "handler_timeout_seconds": "3.9"}
    with (
        serving(application, module=HANGING) as server,
        page_of(browser, server.url) as page,
        application.running("worker", module=HANGING, instance_name="worker-1", **lease) as first,
    ):
        register(page, "Иван", "ivan@example.com")
        row(page, "Иван").locator(".row").click()
        hanging = page.locator(".node.delivery", has=page.get_by_text("wait", exact=True))
        running = r"running · attempt {0} · lease (\d\.\d s|\d+ ms) · worker-{0} · token {1}"
        expect(hanging).to_contain_text(re.compile(running.format(1, 2)))
        first.kill()
        expect(hanging).to_contain_text("lease expired")

        with application.running("worker", module=HANGING, instance_name="worker-2", **lease):
            expect(hanging).to_contain_text(re.compile(running.format(2, 3)))
            expect(hanging).to_contain_text(re.compile("attempt 1 failed .*, worker-1: it had not"))
            expect(hanging.locator(".bar.broken")).to_have_count(1)
            expect(hanging.locator(".bar.busy")).to_have_count(1)


def test_what_is_outstanding_is_discarded_all_that_is_shown(
    application: Application, page: Page
) -> None:
    """After a question; what is not shown stays outstanding."""
    register(page, "Иван", "ivan@example.com")
    expect(row(page, "Иван")).to_be_visible()
    page.get_by_role("link", name="Outstanding").click()
    items = page.locator("ol.outstanding li")
    expect(items).to_have_count(4)

    page.locator("#outstanding").get_by_label("Handler").select_option("log_registration")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    confirm(page, "Discard")
    expect(items).to_have_count(0)
    page.locator("#outstanding").get_by_label("Handler").select_option("")
    expect(items).to_have_count(3)

    discarded = "SELECT handler FROM aftercommit_deliveries WHERE completed_at IS NOT NULL"
    assert application.rows(discarded) == [("log_registration",)]
    items.first.get_by_role("link", name="Trace").click()
    expect(row(page, "Иван").locator(".tree")).to_be_visible()
    page.get_by_role("link", name="Outstanding").click()
    page.get_by_role("button", name="Discard all shown").click()
    confirm(page, "Discard")
    expect(page.locator("#outstanding")).to_have_text("Nothing is outstanding.")


def test_what_is_for_later_is_shown_if_it_is_asked_for(
    application: Application, page: Page
) -> None:
    """Or the view would be full, for weeks, of what nobody has to look at."""
    application.run("add-coupon-batch", "WELCOME", "5")
    register(page, "Иван", "ivan@example.com")
    with working(application):
        expect(row(page, "Иван")).to_contain_text("2 scheduled")

    page.get_by_role("link", name="Outstanding").click()
    view = page.locator("#outstanding")
    expect(view).to_contain_text("Nothing is outstanding.")
    expect(view).to_contain_text("2 scheduled for later.")
    view.get_by_role("button", name="Show", exact=True).click()
    expect(view.locator("ol li")).to_have_count(2)
    expect(view).to_contain_text("send_coupon_reminder")

    view.get_by_role("button", name="Hide", exact=True).click()
    expect(view.locator("ol li")).to_have_count(0)


def test_a_handler_is_paused_and_resumed(application: Application, page: Page) -> None:
    """After a question; whoever looks sees who it was, also on the map."""
    register(page, "Иван", "ivan@example.com")
    page.get_by_role("link", name="Outstanding").click()
    table = page.locator("#outstanding tbody tr", has_text="send_welcome_email")
    table.get_by_role("button", name="Pause").click()
    confirm(page, "Pause")
    expect(table).to_contain_text("by operator@127.0.0.1")
    assert application.run("worker", "--until-idle").returncode == 0
    expect(page.locator("ol.outstanding li")).to_have_count(1)
    expect(page.locator("ol.outstanding li")).to_contain_text("paused")

    page.get_by_role("link", name="Map").click()
    page.locator("#handler-map .box.paused").click()
    expect(page.get_by_role("dialog")).to_contain_text("by operator@127.0.0.1")
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("dialog")).to_contain_text("Resume this handler?")
    confirm(page, "Resume")
    expect(page.locator("#handler-map .box.paused")).to_have_count(0)
    assert application.rows("SELECT * FROM aftercommit_handler_pauses") == []


def test_a_page_that_was_cut_off_says_so_and_catches_up(
    application: Application, browser: Browser
) -> None:
    """The server dies, and comes back; the page is the same."""
    port = free_port()
    with serving(application, port=port) as first, page_of(browser, first.url) as page:
        register(page, "Иван", "ivan@example.com")
        row(page, "Иван").locator(".row").click()
        first.process.send_signal(signal.SIGKILL)
        expect(page.get_by_role("alert").first).to_contain_text("Cut off from the server")
        expect(page.locator("#link")).to_have_text("cut off")

        with serving(application, port=port), working(application):
            expect(page.locator("#link")).to_have_text("live")
            expect(page.locator("#banner")).to_be_hidden()
            expect(row(page, "Иван")).to_have_attribute("data-state", "done")
            expect(delivery(page, "log_registration")).to_contain_text("worker-1")


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_somebody_who_does_not_read_holds_up_nobody(
    application: Application, server: Server, page: Page
) -> None:
    """Nor the server's end. What he does not take is not kept for him."""
    head = ["GET /page/changes HTTP/1.1", "Host: localhost", *map(": ".join, OPERATOR.items())]
    with server.connect() as deaf, server.client() as client:
        deaf.sendall("\r\n".join([*head, "", ""]).encode())
        assert deaf.recv(1)
        for number in range(60):
            body = {"name": EMOJI, "email": f"user{number}@example.com"}
            assert client.post("/users", json=body).status_code == 201
        with working(application):
            expect(page.locator('.trace[data-state="done"]')).to_have_count(60)
        register(page, "Иван", "ivan@example.com")
        expect(row(page, "Иван")).to_be_visible()
        assert server.stop() == 0


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", EMOJI, "נועה </script>", "Ivan <ceo@example.com>"]
)
def test_whatever_somebody_is_called_is_text(page: Page, name: str) -> None:
    """It is shown as it is, takes the space that there is, and does nothing."""
    page.set_viewport_size({"width": 360, "height": 740})
    register(page, name, "somebody@example.com")
    trace = row(page, "somebody@example.com")
    trace.locator(".row").click()

    expect(trace.locator(".row bdi")).to_have_text([name, "somebody@example.com"])
    expect(trace.locator(".node.event .label bdi").first).to_have_text(name)
    assert page.locator("#main img").count() == 0
    assert overflow(page) <= 0


def test_the_keyboard_is_enough(page: Page) -> None:
    """And who has the focus can be seen, everywhere, also after the page has changed under it."""
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("Иван")
    page.keyboard.press("Tab")
    page.keyboard.type("ivan@example.com")
    page.keyboard.press("Enter")
    line = row(page, "Иван").locator(".row")
    expect(line).to_be_visible()
    seen = tab_until(page, "row")
    page.keyboard.press("Enter")
    expect(line).to_have_attribute("aria-expanded", "true")
    expect(line).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=re.compile("Trace .{8}…"))).to_be_focused()

    assert all(seen)
    page.locator("nav a").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#handler-map .box").first).to_be_visible()
    tab_until(page, "box")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Register a user, once")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#handler-map .box").first).to_be_focused()


def tab_until(page: Page, class_: str) -> list[bool]:
    """Press Tab until something of a class has the focus; return what of it all could be seen."""
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(bool(page.evaluate(FOCUS_IS_VISIBLE)))
        if page.evaluate("name => document.activeElement.classList.contains(name)", class_):
            return seen
    raise AssertionError(f"nothing of class {class_} can be reached")


NOTE_WHAT_IS_LIT = """() => {
  window.lit = new Set();
  new MutationObserver((changes) => {
    const lit = changes.map(({ target }) => target).filter((each) => each.matches(".lit"));
    for (const each of lit) window.lit.add(each.dataset.key ?? each.tagName);
  }).observe(document.querySelector("#handler-map"), { subtree: true, attributes: true });
}"""
FOCUS_IS_VISIBLE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" || style.boxShadow !== "none";
}"""


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than what shows it."""
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(wider))


@pytest.fixture
def eventful(application: Application, server: Server, mail_folder: MailFolder) -> Server:
    """A server where something was done, something is parked, and something is due."""
    mail_folder.refusing = True
    with server.client() as client:
        with working(application, **QUICK):
            body = {"name": "Мария", "email": "maria@example.com"}
            assert client.post("/users", json=body).status_code == 201
            wait_until(lambda: len(client.get("/deliveries?state=parked").json()) == 1)
        body = {"name": EMOJI, "email": "somebody@example.com"}
        assert client.post("/users", json=body).status_code == 201
    return server


def show_all(page: Page) -> None:
    """Open all traces."""
    for line in page.locator(".row").all():
        line.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody(browser: Browser, eventful: Server, scheme: str) -> None:
    """Contrast, names, landmarks, order: all that axe-core can find, in every view."""
    with page_of(browser, eventful.url, scheme=scheme) as page:
        expect(page.locator(".trace")).to_have_count(2)
        show_all(page)
        for view in VIEWS:
            page.goto(f"{eventful.url}/#{view}")
            expect(page.locator(f"#view-{view}")).to_be_visible()
            expect(page.locator("#main section:not([hidden]) button").first).to_be_visible()
            assert_accessible(page)
        page.get_by_role("button", name="Discard all shown").click()
        assert_accessible(page)
    with page_of(browser, eventful.url, scheme=scheme, token=None) as page:
        expect(page.get_by_label("Token")).to_be_visible()
        assert_accessible(page)


def assert_accessible(page: Page) -> None:
    results = Axe().run(page, options=WCAG)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_it_fits_every_screen(eventful: Server, browser: Browser, width: int) -> None:
    """In every view, and in the language with the longer words."""
    for language in ("en-GB", "ru-RU"):
        with page_of(browser, eventful.url, width=width, language=language) as page:
            expect(page.locator(".trace")).to_have_count(2)
            show_all(page)
            for view in VIEWS:
                page.goto(f"{eventful.url}/#{view}")
                expect(page.locator("#main section:not([hidden]) button").first).to_be_visible()
                assert overflow(page) <= 0, (view, language)


def test_a_link_is_good_once_and_nothing_else_is_stored_of_it(
    application: Application, browser: Browser, tmp_path: Path
) -> None:
    """The history of a browser keeps what was behind the "#", also when the page has removed it."""
    profile = tmp_path / "profile"
    with serving(application, token="") as server, chromium_with(profile, browser) as context:
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


def test_the_token_is_asked_for_and_somebody_who_leaves_is_out(
    browser: Browser, server: Server
) -> None:
    """Once: then the browser is let in, also by a link from elsewhere."""
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


@pytest.mark.parametrize("hash_", ["#50%", "#trace=%", "#%ff", "#=", "#nothing=1&2"])
def test_any_address_shows_the_page(browser: Browser, server: Server, hash_: str) -> None:
    """A link that was cut off, or typed wrong."""
    with page_of(browser, server.url, hash_=hash_) as page:
        expect(page.locator("#link")).to_have_text("live")
        expect(page.get_by_role("heading", name="Traces")).to_be_visible()


DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_whoever_reads_further_down_is_left_there(
    application: Application, server: Server, browser: Browser
) -> None:
    """What is new comes in above, and nothing moves under his eyes."""

    def register_some(*numbers: int) -> None:
        with server.client() as client:
            for number in numbers:
                body = {"name": "Иван", "email": f"user{number}@example.com"}
                assert client.post("/users", json=body).status_code == 201

    register_some(*range(30))
    with page_of(browser, server.url, height=500) as page:
        rows = page.locator(".trace")
        expect(rows).to_have_count(30)
        page.evaluate("scrollTo(0, 800)")
        page.evaluate(DRAWN)
        page.evaluate("window.read = document.elementFromPoint(300, 250)")
        before = page.evaluate("read.getBoundingClientRect().top")
        for number in range(30, 36):
            register_some(number)
            expect(rows).to_have_count(number + 1)
            page.evaluate(DRAWN)
            assert abs(page.evaluate("read.getBoundingClientRect().top") - before) < 2


def test_it_speaks_russian_and_searches(browser: Browser, eventful: Server) -> None:
    """By the browser's language; a trace is found by address, handler and state, or by its link."""
    with page_of(browser, eventful.url, language="ru-RU") as page:
        expect(page.get_by_role("heading", name="Трассировки")).to_be_visible()
        traces = page.locator(".trace:visible")
        expect(traces).to_have_count(2)
        page.locator("#filter").get_by_label("Состояние").select_option("parked")
        expect(traces).to_have_count(1)
        page.locator("#filter").get_by_label("Обработчик").select_option("log_registration")
        expect(traces).to_have_count(0)
        expect(page.locator("#none")).to_have_text("Ничего не найдено.")
        page.locator("#filter").get_by_label("Состояние").select_option("")
        page.locator("#filter").get_by_label("Обработчик").select_option("")
        expect(traces).to_have_count(2)
        page.get_by_label("Поиск").fill("MARIA@example")
        expect(traces).to_have_count(1)
        traces.locator(".row").click()
        link = page.get_by_role("link", name="Трассировка ").get_attribute("href")
    with page_of(browser, eventful.url, token=TOKEN, hash_=str(link)) as page:
        expect(row(page, "Мария").locator(".tree")).to_be_visible()


def test_the_map_lights_what_passes_and_knows_the_source(
    application: Application, page: Page
) -> None:
    """Drawn from the tables of the running program; what causes what is learned from traces."""
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#handler-map .box.handler", has_text="send_welcome_email")).to_be_visible()
    page.evaluate(NOTE_WHAT_IS_LIT)
    assert application.run("register-user", "Иван", "ivan@example.com").returncode == 0
    with working(application):
        wait_until(lambda: page.evaluate("window.lit.has('o:user_mail')"))
        assert page.evaluate("window.lit.has('path')")

    expect(page.locator("#handler-map path.caused")).to_have_count(2)
    page.locator("#handler-map .box.handler", has_text="send_welcome_email").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Greet the new user.")
    expect(dialog).to_contain_text(re.compile(r"allocation/service_layer/handlers\.py:\d+"))
    expect(dialog).to_contain_text("async def send_welcome_email")
