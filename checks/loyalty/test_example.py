"""The example is a project as the engine makes them, and green."""

import json
from pathlib import Path

import pytest
from aftercommit_tests.new_project.processes import run

from checks.loyalty.taken_over import EXAMPLE, TAKEN_OVER, differences
from tools.repository import ROOT

pytestmark = pytest.mark.check

WHAT_TO_DO = (
    "the template of new projects and examples/loyalty have drifted apart in these files: take over"
    " what has changed in the template, then run `python -m checks.loyalty.taken_over`"
)


def test_it_differs_from_a_new_project_in_what_it_is_about() -> None:
    """What the template learns later, it learns, too."""
    known = json.loads(TAKEN_OVER.read_text()).items()

    assert sorted(known ^ differences().items()) == [], WHAT_TO_DO


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--cache-dir", f"{ROOT}/.mypy_cache/loyalty"],
        ["pytest", "-q", "-p", "no:cacheprovider", "--basetemp", "{folder}/tmp"],
    ],
    ids=["types", "tests"],
)
def test_its_own_checks_pass(command: list[str], tmp_path: Path) -> None:
    """As `make test` there would run them; `make lint` here looks at its style, too."""
    arguments = [each.format(folder=tmp_path) for each in command]

    ran = run(EXAMPLE, "-m", *arguments)

    assert ran.returncode == 0, ran.stdout + ran.stderr
