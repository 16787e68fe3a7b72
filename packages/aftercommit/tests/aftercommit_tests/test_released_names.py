"""What the last release offered is offered still; what has another name warns for one version."""

import json
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from zipfile import ZipFile

import aftercommit
import pytest
from aftercommit import Extensions, new_outbox

from aftercommit_tests.environments import run

RELEASED = Path(__file__).parents[1] / "released"
LAST = sorted(RELEASED.glob("*/aftercommit-*.whl"))[-1]
FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)
SETTINGS = re.compile(r"aftercommit/(?:[\w/]*/)?settings\.py")
TESTS = Path(__file__).parents[1]


def test_each_public_name_of_the_last_release_is_still_there() -> None:
    """An application imports it when it starts."""
    listed = ZipFile(LAST).read("aftercommit/__init__.pyi").decode()
    names = {*re.findall(r" as (\w+)|^    (\w+),$", listed, re.MULTILINE)}
    public = {name for pair in names for name in pair if name}

    assert len(public) > 30
    assert [name for name in sorted(public) if not hasattr(aftercommit, name)] == []


def test_each_setting_of_the_last_release_is_still_there() -> None:
    """An unknown variable is ignored, so anyone who sets it would not notice."""
    with ZipFile(LAST) as last:
        files = [name for name in last.namelist() if SETTINGS.fullmatch(name)]
        before = {each for file in files for each in FIELD.findall(last.read(file).decode())}
    now = {
        each
        for file in Path(aftercommit.__path__[0]).rglob("settings.py")
        for each in FIELD.findall(file.read_text())
    }

    assert len(before) > 20
    assert before - now == set()


def test_each_extension_of_the_last_release_is_still_there() -> None:
    """Its class is imported by its name, from a folder that is called like the extra."""
    pattern = r"aftercommit/extensions/(\w+)/__init__\.py"
    found = [re.fullmatch(pattern, name) for name in ZipFile(LAST).namelist()]
    extensions = {each[1] for each in found if each}

    assert len(extensions) > 5
    for name in extensions:
        offered = vars(import_module(f"aftercommit.extensions.{name}"))
        assert [each for each in offered if each.lower() == f"{name}extension"], name


def test_what_programs_offered_with_the_last_release_is_still_there(tmp_path: Path) -> None:
    """Commands are in scripts, metrics in alerts and on dashboards, columns in queries of others.

    One project, which the last release has made with all that it can have, is asked twice.
    """
    for wheel in LAST.parent.glob("*.whl"):
        ZipFile(wheel).extractall(tmp_path / "released")
    project = tmp_path / "kiosk"
    new = ("-m", "aftercommit", "new", str(project), "--http", "--brokers")
    run(sys.executable, *new, environment=with_path(tmp_path / "released"))

    before, now = (
        asked(project, tmp_path / name, *path)
        for name, path in {"before": [tmp_path / "released"], "now": []}.items()
    )

    assert min(len(names) for names in before.values()) > 25
    assert [name for kind in before for name in before[kind] if name not in now[kind]] == []


def asked(project: Path, folder: Path, *path: Path) -> dict[str, list[str]]:
    """Return what the project offers, with a database in this folder."""
    folder.mkdir()
    command = (sys.executable, "-m", "aftercommit_tests.inside.offered", project.name)
    environment = with_path(*path, project / "src", TESTS)
    offered: dict[str, list[str]] = json.loads(run(*command, cwd=folder, environment=environment))
    return offered


def with_path(*folders: Path) -> dict[str, str]:
    """Return an environment in which Python looks for modules there first."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}


def test_what_has_another_name_now_says_which() -> None:
    """One version before it goes; what the others warn of is in the tests of what they are."""
    with (
        pytest.warns(DeprecationWarning, match="use new_delivery_store"),
        pytest.raises(AttributeError),
    ):
        new_outbox(None, None)  # no database: the warning comes first
    with pytest.warns(DeprecationWarning, match="give App a list of extensions"):
        assert Extensions([]) == ()
