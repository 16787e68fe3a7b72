"""What the last release offered is offered still."""

import json
import os
import re
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import aftercommit
import pytest

from aftercommit_tests.environments import last_release, run

pytestmark = pytest.mark.check

FIELD = re.compile(r"^    (\w+): ", re.MULTILINE)
SETTINGS = re.compile(r"aftercommit/(?:[\w/]*/)?settings\.py")
EXTENSION = re.compile(r"aftercommit/extensions/(\w+)/__init__\.py")
PUBLIC, IS_NAMED = "aftercommit/__init__.pyi", re.compile(r" as (\w+)$", re.MULTILINE)
TESTS = Path(__file__).parents[1]


@pytest.fixture
def released(shared_folder: Path) -> list[Path]:
    """The wheels of the last release, the engine's first."""
    return last_release(shared_folder)


def gone(released: ZipFile) -> dict[str, set[str]]:
    """Return what a wheel of the engine offers, and what is here does not, by its kind."""
    names = released.namelist()
    fields = (FIELD.findall(released.read(n).decode()) for n in names if SETTINGS.fullmatch(n))
    settings = [*Path(aftercommit.__path__[0]).rglob("settings.py")]
    known = {field for each in settings for field in FIELD.findall(each.read_text())}
    extensions = {found[1] for name in names if (found := EXTENSION.fullmatch(name))}
    return {
        "public": {n for n in public_names(released) if not hasattr(aftercommit, n)},
        "settings": {field for found in fields for field in found} - known,
        "extensions": {name for name in extensions if not is_extension(name)},
    }


def public_names(released: ZipFile) -> list[str]:
    return IS_NAMED.findall(released.read(PUBLIC).decode())


def is_extension(name: str) -> bool:
    """Tell whether its class is called like the extra, and in a folder of that name."""
    if find_spec(f"aftercommit.extensions.{name}") is None:
        return False
    offered = vars(import_module(f"aftercommit.extensions.{name}"))
    return any(each.lower() == f"{name}extension" for each in offered)


def test_what_the_last_release_offered_to_programs_is_still_there(released: list[Path]) -> None:
    """They import names when they start, and an unknown variable is ignored by everybody."""
    with ZipFile(released[0]) as engine:
        assert len(public_names(engine)) > 30
        assert gone(engine) == {"public": set(), "settings": set(), "extensions": set()}


def test_what_a_release_offered_and_is_gone_is_named(released: list[Path], tmp_path: Path) -> None:
    """Or nobody would notice that the comparison with the last release compares nothing."""
    more = {
        PUBLIC: "from .bus import OldBus as OldBus\n",
        "aftercommit/settings.py": "    old_setting: int = 1\n",
        "aftercommit/extensions/old/__init__.py": "class OldExtension: ...\n",
    }
    with ZipFile(released[0]) as engine, ZipFile(tmp_path / "old.whl", "w") as old:
        for name in {*engine.namelist(), *more}:
            text = engine.read(name) if name in engine.namelist() else b""
            old.writestr(name, text + more.get(name, "").encode())

    with ZipFile(tmp_path / "old.whl") as old:
        assert gone(old) == {
            "public": {"OldBus"},
            "settings": {"old_setting"},
            "extensions": {"old"},
        }


def test_what_programs_offered_with_the_last_release_is_still_there(
    released: list[Path], tmp_path: Path
) -> None:
    """Commands are in scripts, metrics in alerts and on dashboards, columns in queries of others.

    One project, which the last release has made with all that it can have, is asked twice.
    """
    for wheel in released:
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
