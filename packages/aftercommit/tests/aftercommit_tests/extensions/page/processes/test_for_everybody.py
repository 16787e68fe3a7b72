"""Whatever things are called, and however somebody sees, types, speaks and searches."""

import re
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from aftercommit_tests.extensions.page.processes.browser import (
    VIEWS,
    assert_accessible,
    go_to,
    overflow,
    page_of,
    row,
    show_all,
)
from aftercommit_tests.extensions.web.processes.serving import Server

pytestmark = [pytest.mark.on("sqlite"), pytest.mark.check]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("<img src=x onerror=alert(1)>", ["<img src=x onerror=alert(1)>"]),
        ("И" + "😀" * 99, ["И" + "😀" * 99]),
        ("נועה </script>", ["נועה </script>"]),
        ("Ivan <ceo@example.com>", ["Ivan", "ceo@example.com"]),
    ],
)
def test_every_name_is_text(server: Server, page: Page, name: str, parts: list[str]) -> None:
    """It is shown as it is, takes the space that there is, and does nothing."""
    page.set_viewport_size({"width": 360, "height": 740})
    server.make_thing(name)
    trace = page.locator(".trace")
    trace.locator(".row").click()

    expect(trace.locator(".row bdi")).to_have_text(parts)
    expect(trace.locator(".node.event .label bdi").first).to_have_text(parts[0])
    assert page.locator("#main img").count() == 0
    assert overflow(page) <= 0


FOCUS_IS_VISIBLE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" || style.boxShadow !== "none";
}"""


def tab_until(page: Page, class_: str) -> None:
    """Press Tab until something of a class has the focus, which can be seen all the way."""
    for _ in range(30):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_VISIBLE)
        if page.evaluate("name => document.activeElement.classList.contains(name)", class_):
            return
    raise AssertionError(f"nothing of class {class_} can be reached")


@pytest.mark.on("postgres")
def test_the_keyboard_is_enough(server: Server, page: Page) -> None:
    """And what has the focus can be seen, also after the page has changed under it."""
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    server.make_thing()
    line = row(page, "lamp").locator(".row")
    expect(line).to_be_visible()
    tab_until(page, "row")
    page.keyboard.press("Enter")
    expect(line).to_have_attribute("aria-expanded", "true")
    server.make_thing("chair")
    expect(page.locator(".trace")).to_have_count(2)
    expect(line).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name=re.compile("Trace .{8}…"))).to_be_focused()

    page.locator("nav a").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#handler-map .box").first).to_be_visible()
    tab_until(page, "box")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Make a thing of each item of theirs")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#handler-map .box").first).to_be_focused()


@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(360, "light", "ru-RU"), (768, "dark", "en-GB"), (1600, "light", "en-GB")],
)
def test_nothing_is_in_the_way_of_anybody(
    browser: Browser, eventful: Server, width: int, scheme: str, language: str
) -> None:
    """Contrast, names, landmarks, order: all that axe-core can find, on any screen."""
    look = partial(page_of, browser, eventful.url, width=width, scheme=scheme, language=language)
    with look() as page:
        show_all(page, 2)
        for view in VIEWS:
            go_to(page, view)
            assert_accessible(page)
            assert overflow(page) <= 0
        page.locator("#outstanding .grave").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert_accessible(page)
    with look(token=None) as page:
        expect(page.locator("#entry")).to_be_visible()
        assert_accessible(page)


def test_it_speaks_russian_and_searches(browser: Browser, eventful: Server) -> None:
    """By the browser's language; a trace is found by name, handler and state, or by its link."""
    with page_of(browser, eventful.url, language="ru-RU") as page:
        expect(page.get_by_role("heading", name="Трассировки")).to_be_visible()
        traces, filters = page.locator(".trace:visible"), page.locator("#filter")
        expect(traces).to_have_count(2)
        filters.get_by_label("Состояние").select_option("parked")
        expect(traces).to_have_count(1)
        filters.get_by_label("Обработчик").select_option("write_down")
        expect(traces).to_have_count(0)
        expect(page.locator("#none")).to_have_text("Ничего не найдено.")
        filters.get_by_label("Состояние").select_option("")
        filters.get_by_label("Обработчик").select_option("")
        expect(traces).to_have_count(2)
        page.get_by_label("Поиск").fill("ЛАМПА")
        expect(traces).to_have_count(1)
        traces.locator(".row").click()
        link = page.get_by_role("link", name="Трассировка ").get_attribute("href")
    with page_of(browser, eventful.url, hash_=str(link)) as page:
        expect(row(page, "лампа").locator(".tree")).to_be_visible()
