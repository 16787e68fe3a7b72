"""The site is built from the pages of the repository: nothing is missing, and all can be found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import aftercommit
import pytest

from tools.repository import ROOT

BUILD = (
    "import pathlib, sys; from tools.site import build_site; build_site(pathlib.Path(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, which is not built if a link leads nowhere, or an example is taken for a link."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", BUILD, str(folder)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    return folder


def test_the_index_leads_to_a_reference_of_all_public_names(site: Path) -> None:
    """Whoever writes an application looks a name up, and not where it is defined."""
    index = (site / "docs" / "index.html").read_text()
    reference = (site / "docs" / "reference.html").read_text()
    shown = (site / "reference" / "aftercommit.html").read_text()
    headings = {*re.findall(r'<h2 id="aftercommit\.[\w.]*?(\w+)"', shown)}

    assert 'href="reference.html"' in index
    assert 'href="../reference/aftercommit.html"' in reference
    assert {*vars(aftercommit)["__all__"]} - headings == set()
    assert "&gt;&gt;&gt;" not in re.sub(r"<code>.*?</code>", "", shown, flags=re.DOTALL)


def test_the_search_finds_names_and_pages(site: Path) -> None:
    """Its index is one file, which the browser loads from the site itself."""
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {each["location"] for each in index["docs"]}

    assert "reference/aftercommit.html#aftercommit.outbox.outbox.Outbox" in found
    assert "docs/guarantees.html" in found
