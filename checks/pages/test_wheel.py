"""What is released are wheels: they have all that they need, and say what they need from others."""

import os
import re
import sys
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from aftercommit.deliveries.history import ENGINE
from aftercommit_tests.environments import PACKAGES, ROOT, make_environment, run, wheels_of

from allocation.adapters.migrations import HISTORY

pytestmark = pytest.mark.check

BIN = Path(sys.executable).parent
USUAL = {"demo", "worker", "register-user", "db"}


@pytest.fixture
def wheels(shared_folder: Path) -> list[Path]:
    """The wheels of the application and of the packages."""
    return wheels_of(shared_folder)


@pytest.mark.parametrize("project", [ROOT, *PACKAGES], ids=lambda project: project.name)
def test_a_wheel_has_all_that_is_in_the_package(project: Path, wheels: list[Path]) -> None:
    """Migrations, and files that are no Python, are forgotten easily."""
    known = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "src")
    files = run(*known, cwd=project).splitlines()
    there = {name.removeprefix("src/") for name in files if (project / name).exists()}

    inside = [
        {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
        for wheel in wheels
    ]
    assert there in inside


def test_an_index_would_take_and_show_what_is_released(tmp_path: Path) -> None:
    """It refuses some mistakes after the tag, and shows others to everybody."""
    for project in (ROOT, *PACKAGES):
        run(sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), cwd=project)
    packages = sorted(map(str, tmp_path.iterdir()))
    built = [file for file in packages if file.endswith(".whl")]

    assert len(packages) == 2 * len(built) == 6
    run(str(BIN / "twine"), "check", "--strict", *packages)
    run(str(BIN / "check-wheel-contents"), *built)


def test_links_of_a_readme_lead_from_an_index_to_what_was_released(wheels: list[Path]) -> None:
    """There, nothing is beside it; and what the main branch has is of a later version, or gone."""
    for wheel in wheels:
        name, number = wheel.name.replace("_", "-").split("-py3")[0].rpartition("-")[::2]
        [metadata] = [file for file in ZipFile(wheel).namelist() if file.endswith("/METADATA")]
        text = ZipFile(wheel).read(metadata).decode()
        told = re.search(r"^Project-URL: Source, (.*)$", text, re.MULTILINE)
        links = re.findall(r"\]\((?!#)([^)#]+)", text)

        assert told
        ours = re.compile(rf"{told[1]}/(?:blob|raw)/{name}-{number}/(.+)")
        paths = [found[1] for link in links if (found := ours.fullmatch(link))]
        assert [link for link in links if not link.startswith("https://")] == []
        assert len(paths) > 5
        assert [path for path in paths if ".." in path or not (ROOT / path).exists()] == []


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
    assert "Иван <ivan@example.com> → UserRegistered" in allocation("demo")
    revisions = f"(revision {ENGINE.newest} and {HISTORY.newest})"
    assert revisions in allocation("db", "upgrade")
    allocation("register-user", "Иван", "ivan@example.com")
    assert "ivan@example.com" in allocation("users", "--json")
