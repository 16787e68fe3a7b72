"""The site is built from the pages of the repository: nothing is missing, and all can be found."""

import json
import re
import subprocess
import sys
from pathlib import Path

import aftercommit
import pytest

from tools.repository import ROOT

pytestmark = pytest.mark.check

BUILD = (
    "import pathlib, sys; from tools.site import build_site; build_site(pathlib.Path(sys.argv[1]))"
)


def test_all_public_names_are_found_on_the_site(tmp_path: Path) -> None:
    """By its index and its search; it is not built if a link leads nowhere.

    Nor is it if an example is taken for a link. It is one test, for it takes long to build.
    """
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr

    ensure_index_leads_to_all_names(tmp_path)
    ensure_search_finds_names_and_pages(tmp_path)


def ensure_index_leads_to_all_names(site: Path) -> None:
    """Anyone who writes an application looks a name up, and not where it is defined."""
    engine = site / "packages" / "aftercommit" / "docs"
    index = (engine / "index.html").read_text()
    reference = (engine / "reference.html").read_text()
    shown = (site / "reference" / "aftercommit.html").read_text()
    headings = {*re.findall(r'<h2 id="aftercommit\.[\w.]*?(\w+)"', shown)}

    assert 'href="reference.html"' in index
    assert 'href="../../../reference/aftercommit.html"' in reference
    assert {*vars(aftercommit)["__all__"]} - headings == set()
    assert "&gt;&gt;&gt;" not in re.sub(r"<code>.*?</code>", "", shown, flags=re.DOTALL)


def ensure_search_finds_names_and_pages(site: Path) -> None:
    """Its index is one file, which the browser loads from the site itself."""
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = {each["location"] for each in index["docs"]}

    assert "reference/aftercommit.html#aftercommit.outbox.outbox.Outbox" in found
    assert "packages/aftercommit/docs/guarantees.html" in found
    assert "docs/architecture.html" in found
