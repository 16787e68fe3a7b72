"""Environments with our wheels, with what they ask for, and with nothing else that the tests have.

Nothing is downloaded: what they ask for is linked from the environment of the tests.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.install import pip

ROOT = Path(__file__).parents[4]
TIMEOUT_SECONDS = 240
APPLICATION = "allocation"
PACKAGES = sorted(file.parent for file in ROOT.glob("packages/*/pyproject.toml"))
OURS = {APPLICATION, *(package.name for package in PACKAGES)}


def build_wheels(folder: Path, *projects: Path) -> list[Path]:
    """Build wheels of these projects, or of all, from what is here, and put them into a folder."""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    for project in projects or (ROOT, *PACKAGES):
        run(*command, cwd=project)
    return sorted(folder.glob("*.whl"))


def make_environment(
    folder: Path, wheels: Sequence[Path], extra: str = "", *, wanted: str = APPLICATION
) -> Path:
    """Make an environment with wheels, and with what one of them needs with an extra.

    Return the folder of its commands.
    """
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    install = (str(python), str(pip()), "install", "--quiet", "--disable-pip-version-check")
    run(*install, "--no-index", "--no-deps", *map(str, wheels))
    [site_packages] = folder.glob("lib/python*/site-packages")
    [ours] = Distribution.discover(name=wanted, path=[str(site_packages)])
    for place in {place for each in needed_by(ours, set(), extra) for place in places(each)}:
        (site_packages / place.name).symlink_to(place)
    return folder / "bin"


def needed_by(found: Distribution, seen: set[str], extra: str = "") -> Iterator[Distribution]:
    """Yield what a distribution needs, and what that needs, each once; never our own."""
    for requirement in map(Requirement, found.requires or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        is_ours = requirement.name in OURS
        needed = found if requirement.name == found.name else distribution(requirement.name)
        for wanted in ("", *requirement.extras):
            if (key := f"{canonicalize_name(requirement.name)}[{wanted}]") not in seen:
                seen.add(key)
                yield from () if is_ours else [needed]
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
