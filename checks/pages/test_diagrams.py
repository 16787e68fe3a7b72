"""The diagrams of the pages are drawn by the script that the site has."""

import re

import pytest
from mermaidx import render  # type: ignore[import-untyped]  # it has no stubs

from tools.generated import PAGES
from tools.repository import ROOT

DIAGRAMS = {
    diagram: f"{page.relative_to(ROOT)}-{number}"
    for page in PAGES
    for number, diagram in enumerate(
        re.findall(r"```mermaid\n(.*?)```", page.read_text(), re.DOTALL)
    )
}
"""Each of them once, for some are the same in both languages, and its page."""


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=DIAGRAMS.values())
def test_every_diagram_can_be_drawn(diagram: str) -> None:
    """A semicolon is enough, and the reader sees an error in its place."""
    assert "<svg" in render(diagram).svg()
