"""The worked use case of the README: what it costs, and that it works."""

import re
from pathlib import Path

import pytest

from tests.copies.copying import copy_to
from tools.files import ROOT

PATCH = ROOT / "docs" / "use_case" / "deactivate_user.patch"
BY_HAND = re.findall(r"^\+\+\+ b/(.+)$", PATCH.read_text(), re.MULTILINE)
LIMIT = 16  # files

GENERATED = re.compile(r"docs/(asyncapi\.json|errors\.md)|.*/(stored_events\.json|versions/.*)")
AFFECTED = ["tests/unit", "tests/integration/test_schema.py", "tests/e2e/test_readme.py"]


def checklist() -> str:
    """Return what the README says about it."""
    readme = (ROOT / "README.md").read_text()
    return readme.partition("\n## Add a use case\n")[2].partition("\n## ")[0]


def test_a_use_case_costs_few_files() -> None:
    """All that is written by hand, tests and documentation, too; the rest is generated."""
    assert [file for file in BY_HAND if GENERATED.fullmatch(file)] == []
    assert len(BY_HAND) <= LIMIT


def test_the_checklist_names_every_file() -> None:
    """Who follows it forgets nothing."""
    linked = set(re.findall(r"\]\(([^)#]+)\)", checklist()))

    assert [file for file in BY_HAND if file not in linked] == []


@pytest.mark.timeout(600)
def test_the_finished_use_case_passes_what_every_change_has_to_pass(tmp_path: Path) -> None:
    """Patch, two commands, done: lint, types, import contracts, and the tests it touches."""
    copy = copy_to(tmp_path)
    name, *_ = re.findall(r'make migration NAME="(.+?)"', checklist())

    copy.run("git", "apply", str(PATCH))
    assert "written: " in copy.python("tools.migration", NAME=name)
    assert "written: asyncapi.json" in copy.python("tools.language")
    copy.python("tests.generated")

    copy.lint()
    tests = {*AFFECTED, *(file for file in BY_HAND if file.startswith("tests/integration/"))}
    copy.python("pytest", "-q", "-n", "2", *sorted(tests))
    assert "deactivate-user" in copy.python("allocation", "--help")
