"""What is released is the wheel: it has all that it needs, and says what it needs from others.

Nothing is downloaded: what it asks for is linked from the environment of the tests.
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from allocation.adapters.migrations.revisions import revisions
from tests.e2e.processes import ROOT, TIMEOUT_SECONDS, Application
from tools.install import pip

PACKAGES = ("allocation", "sqlalchemy_anyio")
USUAL = {"demo", "worker", "register-user", "db"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what is here."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has what the wheel asks for without any extra."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    install = (str(python), str(pip()), "install", "--quiet", "--disable-pip-version-check")
    run(*install, "--no-index", "--no-deps", str(wheel))
    [site_packages] = folder.glob("lib/python*/site-packages")
    [ours] = Distribution.discover(name="allocation", path=[str(site_packages)])
    for place in {place for each in needed_by(ours, set()) for place in places(each)}:
        (site_packages / place.name).symlink_to(place)
    return folder / "bin" / "allocation"


def needed_by(found: Distribution, seen: set[str], extra: str = "") -> Iterator[Distribution]:
    """Yield what a distribution needs, and what that needs, each once."""
    for requirement in map(Requirement, found.requires or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        needed = distribution(requirement.name)
        for wanted in ("", *requirement.extras):
            if (key := f"{canonicalize_name(requirement.name)}[{wanted}]") not in seen:
                seen.add(key)
                yield needed
                yield from needed_by(needed, seen, wanted)


def places(of: Distribution) -> Iterator[Path]:
    """Yield the folders and files that a distribution has brought, as far as they are its own."""
    for name in {file.parts[0] for file in of.files or ()} - {"..", "__pycache__"}:
        yield Path(str(of.locate_file(name)))


def run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_the_wheel_has_all_that_is_in_the_packages(wheel: Path) -> None:
    """Migrations, and files that are no Python, are forgotten easily."""
    tracked = run("git", "ls-files", *(f"src/{name}" for name in PACKAGES), cwd=ROOT).splitlines()
    inside = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert inside >= {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    assert {name.partition("/")[0] for name in inside} == set(PACKAGES)
    assert len([name for name in inside if "/versions/" in name]) == len(revisions())


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
    assert f"(revision {revisions()[-1]})" in allocation("db", "upgrade")
    allocation("register-user", "Иван", "ivan@example.com")
    assert application.rows("SELECT count(*) FROM user_view") == [(1,)]
