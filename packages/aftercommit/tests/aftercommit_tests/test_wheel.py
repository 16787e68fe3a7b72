"""Who installs the engine gets all that it needs, and nothing of any application."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from aftercommit.sql.migrations.history import ENGINE

from aftercommit_tests.environments import PACKAGES, build_wheels, make_environment, run

EXAMPLE = Path(__file__).parents[2] / "examples" / "one_file.py"

Command = Callable[..., str]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has our wheels, and what they need without an extra."""
    wheels = build_wheels(tmp_path_factory.mktemp("dist"), *PACKAGES)
    environment = tmp_path_factory.mktemp("environment")
    return make_environment(environment, wheels, wanted="aftercommit")


def test_there_is_no_other_application(programs: Path) -> None:
    """It is not found by accident."""
    look = "from importlib.util import find_spec; print(find_spec('allocation'))"

    assert run(str(programs / "python"), "-c", look) == "None\n"


def test_an_application_of_one_file_runs_on_it(programs: Path, tmp_path: Path) -> None:
    """Its handlers run after the commit, and a worker in another process has nothing left to do."""
    shutil.copy(EXAMPLE, tmp_path)

    assert run(str(programs / "python"), EXAMPLE.name, "7", cwd=tmp_path).endswith("confirmed\n")
    worker = "worker", "--until-idle", "one_file:outbox"
    assert run(str(programs / "aftercommit"), *worker, cwd=tmp_path) == ""
    assert ENGINE.newest in run(
        str(programs / "aftercommit"), "check", "one_file:outbox", cwd=tmp_path
    )
