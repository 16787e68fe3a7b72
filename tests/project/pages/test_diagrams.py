"""The diagrams of the pages are drawn by the script that the site has."""

import re
from pathlib import Path

import pytest
from mermaidx import render  # type: ignore[import-untyped]  # it has no stubs

from tests.project.generated import PAGES
from tools.files import ROOT

WITH_DIAGRAMS = [page for page in PAGES if "```mermaid" in page.read_text()]


@pytest.mark.parametrize("page", WITH_DIAGRAMS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_diagram_can_be_drawn(page: Path) -> None:
    """A semicolon is enough, and the reader sees an error in its place."""
    drawn = re.findall(r"```mermaid\n(.*?)```", page.read_text(), re.DOTALL)

    assert all("<svg" in render(diagram).svg() for diagram in drawn)
