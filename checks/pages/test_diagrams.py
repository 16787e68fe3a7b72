"""The diagrams of the pages are drawn in a real browser, by the script that the site has."""

import re
from importlib.resources import files

import pytest
from aftercommit_tests.extensions.page.processes.browser import chromium

from tools.generated import PAGES
from tools.repository import ROOT

pytestmark = pytest.mark.check

DIAGRAMS = {
    diagram: f"{page.relative_to(ROOT)}-{number}"
    for page in PAGES
    for number, diagram in enumerate(
        re.findall(r"```mermaid\n(.*?)```", page.read_text(), re.DOTALL)
    )
}
"""Each of them once, for some are the same in both languages, and its page."""

DRAW = """async diagram => {
    try { return (await mermaid.render("drawn", diagram)).svg } catch (error) { return `${error}` }
}"""


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Nothing is detected here: Playwright's client has an event loop, which tests may block."""


def test_every_diagram_can_be_drawn() -> None:
    """A semicolon is enough, and the reader sees an error in its place."""
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=str(files("mermaidx") / "assets/mermaid.js"))
        drawn = {place: page.evaluate(DRAW, diagram) for diagram, place in DIAGRAMS.items()}

    assert {place: told for place, told in drawn.items() if "<svg" not in told} == {}
