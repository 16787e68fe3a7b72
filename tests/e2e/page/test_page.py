"""What somebody sees who has the page open all the time, and does not reload it."""

import re
import signal
import socket
from contextlib import closing

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.mail import MailFolder
from tests.e2e.page.browser import QUICK, page_of, register, working
from tests.e2e.processes import Application, wait_until
from tests.e2e.web.serving import OPERATOR, TOKEN, Server, serving

EMOJI = "И" + "😀" * 199  # as long as a name may be
HANGING = ("tests.e2e.hanging", "wait")
VIEWS = ("stories", "map", "owed")
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def row(page: Page, about: str) -> Locator:
    """Return the row of a story."""
    return page.locator(".story", has=page.locator(".row", has_text=about))


def delivery(page: Page, handler: str) -> Locator:
    """Return a delivery in the tree of a story that is open."""
    return page.locator(".node.delivery", has_text=handler)


def confirm(page: Page, what: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=what, exact=True).click()


def test_a_tree_grows_while_somebody_looks(application: Application, page: Page) -> None:
    """The form sends an order; what becomes of it comes by itself."""
    register(page, "Иван", "ivan@example.com")
    story = row(page, "Иван <ivan@example.com>")
    expect(story).to_have_attribute("data-state", "due")
    story.locator(".row").click()
    expect(story.locator(".node")).to_have_count(6)
    expect(delivery(page, "send_welcome_email")).to_contain_text("due for")

    with working(application):
        expect(story).to_have_attribute("data-state", "done")

    welcome = delivery(page, "send_welcome_email")
    expect(welcome).to_contain_text(re.compile(r"done in \d+ ms · worker-1 · token 2"))
    expect(story.locator(".node.event", has_text="out_of_coupons")).to_be_visible()
    assert page.get_by_label("Name").input_value() == ""
    wide = "el => el.getBoundingClientRect().width"
    assert welcome.locator(".bar.good").evaluate(wide) >= 3


def test_what_fails_is_tried_parked_and_retried_by_hand(
    application: Application, server: Server, page: Page, mail_folder: MailFolder
) -> None:
    """All in a page that was open all the time; the reason is told in full."""
    mail_folder.refusing = True
    with working(application, **QUICK | {"retry_base_seconds": "2"}):
        register(page, "Мария", "maria@example.com")
        story = row(page, "Мария <maria@example.com>")
        story.locator(".row").click()
        welcome = delivery(page, "send_welcome_email")
        expect(welcome).to_contain_text("retry in")
        expect(welcome).to_contain_text("attempt 1 failed")
        expect(welcome).to_contain_text(f"File exists: '{mail_folder.folder}'")
        expect(welcome).to_contain_text("parked")
        expect(story).to_have_attribute("data-state", "parked")
        expect(page.locator("#owed-count")).to_have_text("1")

        mail_folder.refusing = False
        welcome.get_by_role("button", name="Retry").click()
        confirm(page, "Retry")
        expect(welcome).to_contain_text("done in")

    expect(story).to_have_attribute("data-state", "done")
    expect(page.locator("#owed-count")).to_have_text("")
    assert [recipient for recipient, _, _ in mail_folder.received] == ["maria@example.com"]
    server.stop()
    assert server.process.stderr is not None
    assert "retry of send_welcome_email for event" in server.process.stderr.read()


def test_a_lease_counts_down_and_another_process_takes_over(
    application: Application, browser: Browser
) -> None:
    """Which has it in hand, at which attempt, with which token; and who had it before."""
    lease = {"lease_seconds": "4", "handler_timeout_seconds": "3.9"}
    with (
        serving(application, module=HANGING) as server,
        page_of(browser, server.url) as page,
        application.running("worker", module=HANGING, process_name="worker-1", **lease) as first,
    ):
        register(page, "Иван", "ivan@example.com")
        row(page, "Иван").locator(".row").click()
        hanging = page.locator(".node.delivery", has=page.get_by_text("wait", exact=True))
        running = r"running · attempt {0} · lease (\d\.\d s|\d+ ms) · worker-{0} · token {1}"
        expect(hanging).to_contain_text(re.compile(running.format(1, 2)))
        first.kill()
        expect(hanging).to_contain_text("lease over for")

        with application.running("worker", module=HANGING, process_name="worker-2", **lease):
            expect(hanging).to_contain_text(re.compile(running.format(2, 3)))
            expect(hanging).to_contain_text(re.compile("attempt 1 failed .*, worker-1: it had not"))
            expect(hanging.locator(".bar.broken")).to_have_count(1)
            expect(hanging.locator(".bar.busy")).to_have_count(1)


def test_what_is_owed_is_discarded_all_that_is_shown(application: Application, page: Page) -> None:
    """After a question; what is not shown stays owed."""
    register(page, "Иван", "ivan@example.com")
    expect(row(page, "Иван")).to_be_visible()
    page.get_by_role("link", name="Owed").click()
    items = page.locator("ol.owed li")
    expect(items).to_have_count(4)

    page.locator("#owed").get_by_label("Handler").select_option("log_registration")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    expect(page.get_by_role("dialog")).to_contain_text("cannot be undone")
    confirm(page, "Cancel")
    expect(items).to_have_count(1)
    page.get_by_role("button", name="Discard all shown").click()
    confirm(page, "Discard")
    expect(items).to_have_count(0)
    page.locator("#owed").get_by_label("Handler").select_option("")
    expect(items).to_have_count(3)

    discarded = "SELECT handler FROM deliveries WHERE finished_at IS NOT NULL"
    assert application.rows(discarded) == [("log_registration",)]
    items.first.get_by_role("link", name="Story").click()
    expect(row(page, "Иван").locator(".tree")).to_be_visible()


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
    head = ["GET /page/stream HTTP/1.1", "Host: test", *map(": ".join, OPERATOR.items())]
    with server.connect() as deaf, server.client() as client:
        deaf.sendall("\r\n".join([*head, "", ""]).encode())
        assert deaf.recv(1)
        for number in range(60):
            body = {"name": EMOJI, "email": f"user{number}@example.com"}
            assert client.post("/users", json=body).status_code == 201
        with working(application):
            expect(page.locator('.story[data-state="done"]')).to_have_count(60)
        register(page, "Иван", "ivan@example.com")
        expect(row(page, "Иван")).to_be_visible()
        assert server.stop() == 0


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", EMOJI, "נועה </script>", "{0}"])
def test_whatever_somebody_is_called_is_text(page: Page, name: str) -> None:
    """It is shown as it is, takes the room that there is, and does nothing."""
    page.set_viewport_size({"width": 360, "height": 740})
    register(page, name, "somebody@example.com")
    story = row(page, "somebody@example.com")
    story.locator(".row").click()

    expect(story.locator(".row bdi")).to_have_text(f"{name} <somebody@example.com>")
    expect(story.locator(".node.event .label bdi").first).to_contain_text(name)
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
    expect(page.get_by_role("link", name="Link to this story")).to_be_focused()

    assert all(seen)
    page.locator("nav a").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#wiring .box").first).to_be_visible()
    tab_until(page, "box")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Register a user, once")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#wiring .box").first).to_be_focused()


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
  }).observe(document.querySelector("#wiring"), { subtree: true, attributes: true });
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
    """Open all stories."""
    for line in page.locator(".row").all():
        line.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody(browser: Browser, eventful: Server, scheme: str) -> None:
    """Contrast, names, landmarks, order: all that axe-core can find, in every view."""
    with page_of(browser, eventful.url, scheme=scheme) as page:
        expect(page.locator(".story")).to_have_count(2)
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
            expect(page.locator(".story")).to_have_count(2)
            show_all(page)
            for view in VIEWS:
                page.goto(f"{eventful.url}/#{view}")
                expect(page.locator("#main section:not([hidden]) button").first).to_be_visible()
                assert overflow(page) <= 0, (view, language)


def test_the_token_is_asked_for_and_leaves_the_address(browser: Browser, server: Server) -> None:
    """Once: then the browser is let in, also by a link from elsewhere."""
    with page_of(browser, server.url) as page:
        expect(page.locator("#link")).to_have_text("live")
        assert page.url == f"{server.url}/"
    with page_of(browser, server.url, token="another-token-entirely", hash_="#owed") as page:
        assert TOKEN not in page.url
        page.get_by_label("Token").fill("wrong-again-and-again")
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#entry .wrong")).to_have_text("That is another token.")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#link")).to_have_text("live")
        expect(page.locator("#view-owed")).to_be_visible()
        assert "token" not in page.url


def test_it_speaks_russian_and_searches(browser: Browser, eventful: Server) -> None:
    """By the browser's language; a story is found by address, handler and state, or by its link."""
    with page_of(browser, eventful.url, language="ru-RU") as page:
        expect(page.get_by_role("heading", name="Истории")).to_be_visible()
        stories = page.locator(".story:visible")
        expect(stories).to_have_count(2)
        page.locator("#filter").get_by_label("Состояние").select_option("parked")
        expect(stories).to_have_count(1)
        page.locator("#filter").get_by_label("Обработчик").select_option("log_registration")
        expect(stories).to_have_count(0)
        expect(page.locator("#none")).to_have_text("Ничего похожего здесь нет.")
        page.locator("#filter").get_by_label("Состояние").select_option("")
        page.locator("#filter").get_by_label("Обработчик").select_option("")
        expect(stories).to_have_count(2)
        page.get_by_label("Поиск").fill("MARIA@example")
        expect(stories).to_have_count(1)
        stories.locator(".row").click()
        link = page.get_by_role("link", name="Ссылка на историю").get_attribute("href")
    with page_of(browser, eventful.url, token=TOKEN, hash_=str(link)) as page:
        expect(row(page, "Мария").locator(".tree")).to_be_visible()


def test_the_map_lights_what_passes_and_knows_the_source(
    application: Application, page: Page
) -> None:
    """Drawn from the tables of the running program; what causes what is learned from stories."""
    page.get_by_role("link", name="Map").click()
    expect(page.locator("#wiring .box.handler", has_text="send_welcome_email")).to_be_visible()
    page.evaluate(NOTE_WHAT_IS_LIT)
    assert application.run("register-user", "Иван", "ivan@example.com").returncode == 0
    with working(application):
        wait_until(lambda: page.evaluate("window.lit.has('o:notifications')"))
        assert page.evaluate("window.lit.has('path')")

    expect(page.locator("#wiring path.caused")).to_have_count(2)
    page.locator("#wiring .box.handler", has_text="send_welcome_email").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Greet the new user.")
    expect(dialog).to_contain_text(re.compile(r"allocation/service_layer/handlers\.py:\d+"))
    expect(dialog).to_contain_text("async def send_welcome_email")
