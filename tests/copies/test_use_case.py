"""The worked use case of the README: what it costs, and that it works."""

import re
import subprocess
import sys

import pytest

from tests.copies.conftest import ROOT, Copy

PATCH = ROOT / "docs" / "use_case" / "deactivate_user.patch"
BY_HAND = re.findall(r"^\+\+\+ b/(.+)$", PATCH.read_text(), re.MULTILINE)
LIMIT = 16  # files
DOES_NOT_FIT = """\
the patch does not fit the code any more: CONTRIBUTING.md, "The worked use case", says how to mend
it. A copy of this project that goes its own way deletes it, with this test."""

GENERATED = re.compile(
    r"docs/(brokers/asyncapi\.json|errors\.md)|.*/(stored_events\.json|versions/.*)"
)
AFFECTED = {
    "tests/unit",
    "tests/integration/test_schema.py",
    "tests/e2e/test_readme.py::test_every_command_of_the_readme_does_what_it_says",
}


def checklist() -> str:
    """Return what the README says about it."""
    readme = (ROOT / "README.md").read_text()
    return readme.partition("\n## Add a use case\n")[2].partition("\n## ")[0]


def test_a_use_case_costs_few_files() -> None:
    """All that is written by hand, tests and documentation, too; the rest is generated."""
    assert [file for file in BY_HAND if GENERATED.fullmatch(file)] == []
    assert len([*BY_HAND, "CHANGELOG.md"]) <= LIMIT


def test_the_checklist_names_every_file() -> None:
    """Who follows it forgets nothing."""
    linked = set(re.findall(r"\]\(([^)#]+)\)", checklist()))

    assert [file for file in BY_HAND if file not in linked] == []


@pytest.mark.timeout(600)
def test_the_finished_use_case_passes_what_every_change_has_to_pass(copy: Copy) -> None:
    """Patch, two commands, done. The tests it touches run on one event loop: it knows of none."""
    name, *_ = re.findall(r'make migration NAME="(.+?)"', checklist())

    applied = subprocess.run(["git", "apply", str(PATCH)], cwd=copy.folder)
    assert applied.returncode == 0, DOES_NOT_FIT
    made = copy.run("env", f"NAME={name}", sys.executable, "-m", "tools.migration")
    written = copy.python("-m", "tools.language")
    copy.python("-m", "tests.generated")

    assert f"_{name.lower().replace(' ', '_')}.py" in made
    assert "written: stored_events.json" in written
    copy.check()
    tests = AFFECTED | {file for file in BY_HAND if file.startswith("tests/integration/")}
    copy.test("-n", "2", "-k", "not trio", *sorted(tests))
    assert "deactivate-user" in copy.python("-m", "allocation", "--help")
