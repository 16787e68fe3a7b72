"""What is released is the wheel: it has all that it needs, and says what it needs from others."""

from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

from allocation.adapters.engine_migrations.history import ENGINE
from allocation.adapters.migrations import HISTORY
from tests.e2e.environments import build_wheel, make_environment, run
from tests.e2e.processes import ROOT, Application

PACKAGES = ("allocation", "sqlalchemy_anyio")
USUAL = {"demo", "worker", "register-user", "db"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what is here."""
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has what the wheel asks for without any extra."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel)


def test_the_wheel_has_all_that_is_in_the_packages(wheel: Path) -> None:
    """Migrations, and files that are no Python, are forgotten easily."""
    tracked = run("git", "ls-files", *(f"src/{name}" for name in PACKAGES), cwd=ROOT).splitlines()
    inside = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert inside >= {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    assert {name.partition("/")[0] for name in inside} == set(PACKAGES)
    migrations = [*ENGINE.revisions(), *HISTORY.revisions()]
    assert len([name for name in inside if "/versions/" in name]) == len(migrations)


def test_the_wheel_works_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
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
