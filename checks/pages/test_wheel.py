"""What is released are wheels: they have all that they need, and say what they need from others."""

import os
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from aftercommit.sql.migrations.history import ENGINE
from aftercommit_tests.environments import PACKAGES, ROOT, build_wheels, make_environment, run

from allocation.adapters.migrations import HISTORY

USUAL = {"demo", "worker", "register-user", "db"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheels of the application and of the packages."""
    return build_wheels(tmp_path_factory.mktemp("dist"))


@pytest.mark.parametrize("project", [ROOT, *PACKAGES], ids=lambda project: project.name)
def test_a_wheel_has_all_that_is_in_the_package(project: Path, wheels: list[Path]) -> None:
    """Migrations, and files that are no Python, are forgotten easily."""
    tracked = run("git", "ls-files", "src", cwd=project).splitlines()
    there = {name.removeprefix("src/") for name in tracked if (project / name).exists()}

    inside = [
        {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
        for wheel in wheels
    ]
    assert there in inside


def test_the_wheels_work_in_an_empty_environment(wheels: list[Path], tmp_path: Path) -> None:
    """Users who install it do not have the libraries of the tests."""
    command = make_environment(tmp_path / "environment", wheels) / "allocation"
    ours = ("ALLOCATION_", "PYTHONPATH")
    environment = {name: v for name, v in os.environ.items() if not name.startswith(ours)}

    def allocation(*arguments: str) -> str:
        return run(str(command), *arguments, cwd=tmp_path, environment=environment)

    version, engine = (distribution(each).version for each in ("allocation", "aftercommit"))
    assert allocation("--version") == f"allocation, version {version} (aftercommit {engine})\n"
    shown = allocation("--help")
    assert {line.split()[0] for line in shown.splitlines() if line.startswith("  ")} >= USUAL
    assert "registered Иван" in allocation("demo")
    revisions = f"(revision {ENGINE.newest} and {HISTORY.newest})"
    assert revisions in allocation("db", "upgrade")
    allocation("register-user", "Иван", "ivan@example.com")
    assert "ivan@example.com" in allocation("users", "--json")
