"""Environments with our wheels, with what they ask for, and with nothing else that the tests have.

Nothing is downloaded: what they ask for is packed again, from the environment of the tests.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.install import OPTIONS, pip

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
    """Make an environment into which pip installs one of these wheels, with an extra.

    All that it asks for comes from them, or is packed again. Return the folder of its commands.
    """
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    needs = folder.with_name(f"{folder.name}-needs")
    needs.mkdir()
    where = [*map(str, wheels), *sys.path]
    for name in {name for name, _ in needed_by(wanted, extra, where)} - OURS:
        pack_again(distribution(name), needs)
    [ours] = [wheel for wheel in wheels if wheel.name.startswith(f"{wanted}-")]
    install = (str(folder / "bin" / "python"), str(pip()), "install", *OPTIONS, "--no-index")
    links = [f"--find-links={place}" for place in {needs, *(wheel.parent for wheel in wheels)}]
    run(*install, *links, f"{ours}[{extra}]" if extra else str(ours))
    return folder / "bin"


def upgrade(programs: Path, wheels: Sequence[Path], name: str) -> None:
    """Let pip take the newer version of a package that is among these wheels, and nothing else."""
    command = (str(programs / "python"), str(pip()), "install", *OPTIONS, "--no-index")
    links = [f"--find-links={place}" for place in {wheel.parent for wheel in wheels}]
    run(*command, *links, "--upgrade", name)


def needed_by(name: str, extra: str, where: list[str]) -> set[tuple[str, str]]:
    """Return what a distribution needs, and what that needs, each with an extra, or without one."""
    found, waiting = set[tuple[str, str]](), [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        [this, *_] = distributions(name=name, path=where)
        for requirement in map(Requirement, this.requires or ()):
            if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
                needs = canonicalize_name(requirement.name)
                new = {(needs, each) for each in ("", *requirement.extras)} - found
                found |= new
                waiting += new
    return found


def pack_again(found: Distribution, folder: Path) -> None:
    """Make a wheel of what it has installed, but for its commands, which pip makes."""
    [tag, *_] = re.findall(r"^Tag: (.+)$", str(found.read_text("WHEEL")), re.MULTILINE)
    name = canonicalize_name(found.name).replace("-", "_")
    files = [file for file in found.files or () if file.parts[0] != ".." and file.suffix != ".pyc"]
    with ZipFile(folder / f"{name}-{found.version}-{tag}.whl", "w") as wheel:
        for file in files:
            wheel.write(str(file.locate()), str(file))


def run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout
