"""The worked use case of docs/use-case.md works; `test_tutorials.py` says what it costs."""

import re
import subprocess
import sys

import pytest

from tests.project.full.conftest import ROOT, Copy
from tests.project.tutorials import BY_HAND, CHECKLIST, PATCH

AFFECTED = {
    "tests/unit",
    *(str(file.relative_to(ROOT)) for file in ROOT.glob("tests/project/test_*.py")),
    "tests/integration/test_schema.py",
    "tests/project/pages/test_readme.py::test_every_command_of_the_first_hour_does_what_its_page_says",
}


@pytest.mark.timeout(600)
def test_the_finished_use_case_passes_what_every_change_has_to_pass(copy: Copy) -> None:
    """Patch, two commands, done. The tests it touches run on one event loop: it knows of none."""
    name, *_ = re.findall(r'make migration NAME="(.+?)"', CHECKLIST.read_text())

    applied = subprocess.run(
        ["git", "apply", str(PATCH)], cwd=copy.folder, capture_output=True, text=True
    )
    assert applied.returncode == 0, applied.stderr
    made = copy.run("env", f"NAME={name}", sys.executable, "-m", "tools.migration")
    written = copy.python("-m", "tools.language")
    copy.python("-m", "tests.project.generated")

    assert f"_{name.lower().replace(' ', '_')}.py" in made
    assert "written: stored_events.json" in written
    copy.check()
    tests = AFFECTED | {file for file in BY_HAND if file.startswith("tests/integration/")}
    copy.test("-n", "2", "-k", "not trio", *sorted(tests))
    assert "deactivate-user" in copy.python("-m", "allocation", "--help")
