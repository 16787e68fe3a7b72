"""What others read about the project says the same everywhere, and is what they install."""

import re
import tomllib
from importlib.metadata import version
from typing import Any

import yaml

from allocation.entrypoints.broker_messages import ACCEPTED_FROM_BROKERS
from tools.repository import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text())


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
