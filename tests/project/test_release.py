"""What others read about the project says the same everywhere, and is what they install."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import yaml

from allocation.messages import ACCEPTED_FROM_BROKERS
from tools.files import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())
BUILT = """\
[build-system]
requires = ["builder"]
build-backend = "builder"

[project]
name = "built"
version = "1"
optional-dependencies = { demo = [] }
"""


def test_the_version_is_the_same_everywhere() -> None:
    """Whoever cites, installs or reads what is new means one thing."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d+\.\d+\.\d+) – (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    wheel = re.search(r"allocation-([\d.]+)-py3", (ROOT / "CONTRIBUTING.md").read_text())

    assert wheel
    written = {PROJECT["version"], CITATION["version"], wheel[1], version("allocation")}
    assert len(written) == 1
    assert released == sorted(released, reverse=True)
    if "date-released" in CITATION:
        assert released[0] == (PROJECT["version"], str(CITATION["date-released"]))
    else:  # it is in the works
        assert PROJECT["version"] not in dict(released)
        assert "\n## Unreleased\n" in changelog


def test_what_a_broker_lets_others_do_is_written_where_they_look() -> None:
    """A message has no proof of who sent it; whoever sets up the broker has to know."""
    security = (ROOT / "SECURITY.md").read_text()
    named = set(re.findall(r"`([A-Z]\w+[a-z]\w+)`", security))

    assert named == {command.__name__ for command in ACCEPTED_FROM_BROKERS}


def test_every_extension_has_an_extra_of_its_name() -> None:
    """What is missing is installed by the name of the folder."""
    engine = ROOT / "packages" / "aftercommit"
    extras = tomllib.loads((engine / "pyproject.toml").read_text())["project"]
    folders = {file.parent.name for file in engine.glob("src/*/extensions/*/__init__.py")}

    assert len(folders) > 5
    assert folders <= extras["optional-dependencies"].keys()


def test_what_builds_the_program_has_the_version_that_was_tested(tmp_path: Path) -> None:
    """Pip builds in an environment of its own, which knows nothing of the usual `-c`."""
    for number in ("1", "2"):
        about = f"builder-{number}.dist-info"
        files = {
            "builder.py": f"raise SystemExit('this is builder {number}')",
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: builder\nVersion: {number}\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{about}/RECORD": "",
        }
        with ZipFile(tmp_path / f"builder-{number}-py3-none-any.whl", "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)
    (tmp_path / "pyproject.toml").write_text(BUILT)
    (tmp_path / "constraints.txt").write_text("builder==1\n")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-m", "tools.install", ".venv", "demo"],
        cwd=tmp_path,
        env=os.environ | offline,
        capture_output=True,
        text=True,
    )

    assert "this is builder 1" in done.stderr + done.stdout
