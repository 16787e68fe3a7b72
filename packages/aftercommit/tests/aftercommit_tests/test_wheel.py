"""Who installs the engine gets all that it needs, and nothing of any application."""

import shutil
from pathlib import Path

import pytest

from aftercommit_tests.environments import make_environment, run, wheels_of
from aftercommit_tests.inside.stored import ENGINE

pytestmark = pytest.mark.check

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"


def test_an_application_of_one_file_runs_on_it(tmp_path: Path, shared_folder: Path) -> None:
    """Its handlers run after the commit, and a worker in another process has nothing left to do.

    Our other application is not there, so it is not found by accident.
    """
    place, wheels = tmp_path / "environment", wheels_of(shared_folder)
    programs = make_environment(place, wheels, "sqlite", wanted="aftercommit")
    shutil.copy(EXAMPLE, tmp_path)
    look = "from importlib.util import find_spec; print(find_spec('allocation'))"

    assert run(str(programs / "python"), "-c", look) == "None\n"
    told = run(str(programs / "python"), EXAMPLE.name, "7", cwd=tmp_path)
    assert told.startswith("order 7 is confirmed, key ")
    worker = "worker", "--until-idle", "one_file:outbox"
    assert run(str(programs / "aftercommit"), *worker, cwd=tmp_path) == ""
    assert ENGINE.newest in run(
        str(programs / "aftercommit"), "check", "one_file:outbox", cwd=tmp_path
    )
