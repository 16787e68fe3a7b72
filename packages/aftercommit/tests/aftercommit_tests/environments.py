"""Environments with our wheels, with what they ask for, and with nothing else that the tests have.

Nothing is downloaded: what they ask for is copied from the environment of the tests, compiled.
"""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import Distribution, distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools.install import OPTIONS, pip

ROOT = Path(__file__).parents[4]
TIMEOUT_SECONDS = 240
APPLICATION = "allocation"
PACKAGES = sorted(file.parent for file in ROOT.glob("packages/*/pyproject.toml"))
OURS = {APPLICATION, *(package.name for package in PACKAGES)}
RELEASED = Path(__file__).parents[1] / "released"


def build_wheels(folder: Path, *projects: Path) -> list[Path]:
    """Build wheels of these projects, or of all, from what is here, and put them into a folder."""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder))
    for project in projects or (ROOT, *PACKAGES):
        run(*command, cwd=project)
    return sorted(folder.glob("*.whl"))


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Have a folder made by the first process of a run that needs it; others wait for that.

    What is made stays where it is, because the commands of an environment know their folder.
    """
    done = folder.with_name(f"{folder.name}.done")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def wheels_of(run: Path) -> list[Path]:
    """Return the wheels of all packages, which are built once in a run."""
    return sorted(made_once(run / "wheels", build_wheels).glob("*.whl"))


def last_release(run: Path) -> list[Path]:
    """Return the wheels of the last release; until the first one, those of what is here."""
    if releases := sorted(RELEASED.glob("*.*.*"), key=lambda each: Version(each.name)):
        return sorted(releases[-1].glob("*.whl"))
    names = tuple(f"{package.name.replace('-', '_')}-" for package in PACKAGES)
    return [wheel for wheel in wheels_of(run) if wheel.name.startswith(names)]


def make_environment(
    folder: Path, wheels: Sequence[Path], extra: str = "", *, wanted: str = APPLICATION
) -> Path:
    """Make an environment into which pip installs one of these wheels, with an extra.

    All that it asks for comes from them, or is there. Return the folder of its commands.
    """
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    [packages] = folder.glob("lib/python*/site-packages")
    where = [*map(str, wheels), *sys.path]
    for name in {name for name, _ in needed_by(wanted, extra, where)} - OURS:
        copy(distribution(name), packages)
    [ours] = [wheel for wheel in wheels if wheel.name.startswith(f"{wanted}-")]
    install = (str(folder / "bin" / "python"), str(pip()), "install", *OPTIONS, "--no-index")
    links = [f"--find-links={place}" for place in {wheel.parent for wheel in wheels}]
    run(*install, *links, f"{ours}[{extra}]" if extra else str(ours))
    return folder / "bin"


def upgrade(programs: Path, wheels: Sequence[Path], *names: str) -> None:
    """Let pip take the newer versions of packages that are among these wheels, and nothing else."""
    command = (str(programs / "python"), str(pip()), "install", *OPTIONS, "--no-index")
    links = [f"--find-links={place}" for place in {wheel.parent for wheel in wheels}]
    run(*command, *links, "--upgrade", *names)


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


def copy(found: Distribution, packages: Path) -> None:
    """Copy what it has installed, but for its commands, which nobody calls."""
    for file in found.files or ():
        if file.parts[0] == ".." or file.suffix == ".pyc":
            continue
        source, target = str(file.locate()), str(packages / file)
        pairs = [(source, target)]
        if file.suffix == ".py" and Path(cache_from_source(source)).exists():
            pairs.append((cache_from_source(source), cache_from_source(target)))
        for one, other in pairs:
            Path(other).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(one, other)


def run(*command: str, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout
