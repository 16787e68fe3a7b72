"""What is released are wheels: they have all that they need, and say what they need from others."""

from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from aftercommit.sql.migrations.history import ENGINE

from allocation.adapters.migrations import HISTORY
from tests.e2e.environments import PACKAGES, build_wheels, make_environment, run
from tests.e2e.processes import ROOT, Application

USUAL = {"demo", "worker", "register-user", "db"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has what the wheels ask for without any extra."""
    wheels = build_wheels(tmp_path_factory.mktemp("dist"))
    return make_environment(tmp_path_factory.mktemp("environment"), wheels) / "allocation"


@pytest.mark.parametrize("project", [ROOT, *PACKAGES], ids=lambda project: project.name)
def test_a_wheel_has_all_that_is_in_the_package(project: Path, tmp_path: Path) -> None:
    """Migrations, and files that are no Python, are forgotten easily."""
    tracked = run("git", "ls-files", "src", cwd=project).splitlines()
    [wheel] = build_wheels(tmp_path, project)
    inside = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    there = {name.removeprefix("src/") for name in tracked if (project / name).exists()}
    assert inside == there


def test_the_wheels_work_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
    """Nobody who installs it has the tests' libraries."""
    application = Application(tmp_path)
    environment = application.environment()
    del environment["PYTHONPATH"]

    def allocation(*arguments: str) -> str:
        return run(str(installed), *arguments, cwd=tmp_path, environment=environment)

    version = distribution("allocation").version
    assert allocation("--version") == f"allocation, version {version}\n"
    told = allocation("--help")
    assert {line.split()[0] for line in told.splitlines() if line.startswith("  ")} >= USUAL
    assert "registered Иван" in allocation("demo")
    revisions = f"(revision {ENGINE.newest} and {HISTORY.newest})"
    assert revisions in allocation("db", "upgrade")
    allocation("register-user", "Иван", "ivan@example.com")
    assert application.rows("SELECT count(*) FROM user_view") == [(1,)]
