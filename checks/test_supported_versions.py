"""The page of what is supported says what is installed, and what the scheduled job takes."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from aftercommit.project import CONSTRAINTS

from tools import project_constraints
from tools.floors import REQUIREMENT, constraints, required
from tools.repository import ROOT
from tools.requirements import COMPILE

PAGE = (ROOT / "packages/aftercommit/docs/compatibility.md").read_text()
ENGINE = ROOT / "packages/aftercommit"
TEMPLATE = ENGINE / "src/aftercommit/project/template"
FOLDERS = [ROOT, *sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))]
PROJECTS: list[dict[str, Any]] = [
    tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in FOLDERS
]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yaml").read_text())
APPLICATIONS = sorted((ROOT / "checks/applications").glob("*.txt"))
OLDEST: dict[str, Any] = WORKFLOW["jobs"]["floors"]


def rows(heading: str) -> list[str]:
    """Return the first cells of the table with this heading, from the oldest on."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)


def test_the_page_has_each_python_that_the_packages_name() -> None:
    """An index shows these to anyone who looks for a package."""
    named = [re.findall(r"Python :: (\d\.\d+)", " ".join(each["classifiers"])) for each in PROJECTS]

    assert named == [rows("Python")] * len(PROJECTS)
    assert {each["requires-python"] for each in PROJECTS} == {f">={rows('Python')[0]}"}


def test_a_package_has_one_range_whoever_needs_it() -> None:
    """Of two floors, only the higher one could be tested; a new project has ours."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    new = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    of_new = [(found[1], found[2]) for each in new if (found := REQUIREMENT.match(each))]
    ranges = {(name, accepted) for _, name, accepted, _ in required()}
    ranges |= {each for each in of_new if each[0] in {name for name, _ in ranges}}

    assert len(ranges) > 20
    assert len({name for name, _ in ranges}) == len(ranges)


def test_all_that_users_get_has_a_floor() -> None:
    """Without one, pip leaves a version that is there, however old it is."""
    found = {name for _, name, _, _ in required()} | {each["name"] for each in PROJECTS}
    needed = [
        re.split(r"[\[><=]", requirement)[0]
        for each in PROJECTS
        for requirement in each["dependencies"]
    ]

    assert set(needed) <= found
    assert "\nsqlalchemy==2.0.43\n" in constraints()


@pytest.mark.check
@pytest.mark.parametrize("pins", APPLICATIONS, ids=lambda pins: pins.stem)
def test_an_application_of_2025_need_not_upgrade_anything(pins: Path, tmp_path: Path) -> None:
    """Whoever wants an outbox does not want to upgrade a web framework on the same day."""
    python = pins.read_text().splitlines()[0].rpartition(" ")[2]
    engine = f"aftercommit[page,otel,postgresql,psycopg,schedules] @ {ENGINE.as_uri()}\n"
    (wanted := tmp_path / "wanted.txt").write_text(engine + pins.read_text())
    options = ["--system-certs", "--python-version", python, str(wanted)]

    ended = subprocess.run([*COMPILE, *options], capture_output=True, text=True, timeout=120)

    assert ended.returncode == 0, ended.stderr
    resolved = set(ended.stdout.splitlines())
    assert {line for line in pins.read_text().splitlines()[1:] if line not in resolved} == set()


def test_the_packages_of_this_repository_need_each_other_as_they_are() -> None:
    """They are changed together; an older engine lacks what a newer application calls."""
    versions = {each["name"]: each["version"] for each in PROJECTS}
    files = [*(folder / "pyproject.toml" for folder in FOLDERS), TEMPLATE / "pyproject.toml"]
    floors = [
        found
        for file in files
        for found in re.findall(r'"([\w-]+)(?:\[[\w,]+\])?>=([\w.]+)"', file.read_text())
        if found[0] in versions
    ]

    assert {name for name, _ in floors} == {"aftercommit", "sqlalchemy-anyio"}
    assert [floor for name, floor in floors if floor != versions[name]] == []


def test_the_scheduled_job_takes_the_oldest_of_all() -> None:
    """With newer ones, a floor would be a guess."""
    assert "schedule" in OLDEST["if"]
    assert OLDEST["container"].startswith(f"python:{rows('Python')[0]}-")
    assert OLDEST["services"]["postgres"]["image"] == f"postgres:{rows('PostgreSQL')[0]}"
    assert OLDEST["steps"][-1]["run"] == ".ci/run floors"


def test_a_new_project_is_pinned_to_what_was_tested() -> None:
    """Run `python -m tools.project_constraints`: it writes the file."""
    assert CONSTRAINTS.read_text() == project_constraints.text()
