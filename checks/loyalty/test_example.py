"""The example is a project as the engine makes them, and green."""

import json
from pathlib import Path

import pytest
from aftercommit_tests.new_project.processes import run, types_of

from checks.loyalty.taken_over import EXAMPLE, TAKEN_OVER, differences

pytestmark = pytest.mark.check

WHAT_TO_DO = (
    "the template of new projects and examples/loyalty have drifted apart in these files: take over"
    " what has changed in the template, then run `python -m checks.loyalty.taken_over`"
)


def test_it_differs_from_a_new_project_in_what_it_is_about() -> None:
    """What the template learns later, it learns, too."""
    known = json.loads(TAKEN_OVER.read_text()).items()

    assert sorted(known ^ differences().items()) == [], WHAT_TO_DO


def test_its_types_are_right(shared_folder: Path) -> None:
    """`make lint` here looks at its style, too."""
    ran = types_of(EXAMPLE, shared_folder)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_its_own_tests_pass(tmp_path: Path) -> None:
    """As `make test` there would run them."""
    ran = run(
        EXAMPLE, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", f"{tmp_path}/tmp"
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
