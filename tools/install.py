"""Installs the program with the requirements of one kind of work, when these are first needed.

    python3 -m tools.install .venv test     # an extra of pyproject.toml

The application and the packages of this repository are installed by their paths, never by their
names, because an index could have other packages with these names. Their requirements and build
tools are installed first: a separate environment for each build would take longer than everything
else.

Any Python with `venv` and pip's wheel works, such as Debian's with `python3-venv`. The environment
has no pip of its own, which would be half of its size; nothing is compiled before it is used.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUNDLED = Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled"
OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--no-compile")
CONSTRAINTS = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")  # until 25.3, pip had one name for both
PINNED = Path("constraints.txt")
"""The versions of everything, including build tools."""
NO_PIP = "there is no pip here that could install it; on Debian: apt-get install python3-venv"


def install(environment: Path, extra: str, constraints: Path = PINNED) -> None:
    """Install the program with an extra, in the tested versions."""
    python = environment / "bin" / "python"
    if not python.exists():
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(command, check=True)
    ours = pyprojects()
    projects = {each["project"]["name"]: each["project"] for each in ours.values()}
    program = next(iter(projects))
    builders = {name for each in ours.values() for name in each["build-system"]["requires"]}
    required = sorted(builders | {*needed(projects, f"{program}[{extra}]")})
    run_pip(python, constraints, *required)
    editable = [argument for folder in ours for argument in ("-e", str(folder))]
    run_pip(python, constraints, "--no-build-isolation", "--no-deps", *editable)


def pyprojects() -> dict[Path, Any]:
    """Return the pyproject.toml of the application, and of each package, by their folders."""
    files = [Path("pyproject.toml"), *sorted(Path().glob("packages/*/pyproject.toml"))]
    return {file.parent: tomllib.loads(file.read_text()) for file in files}


def needed(projects: Mapping[str, Any], requirement: str) -> Iterator[str]:
    """Yield a requirement; if it is one of our projects, its requirements, with these extras."""
    name, extras = re.match(r"([\w.-]+)(?:\[([^\]]*)\])?", requirement).groups()  # type: ignore[union-attr]
    if name not in projects:
        yield requirement
        return
    optional = projects[name].get("optional-dependencies", {})
    groups = [optional[extra] for extra in extras.split(",")] if extras else []
    for group in (projects[name].get("dependencies", ()), *groups):
        for each in group:
            yield from needed(projects, each)


def run_pip(python: Path, constraints: Path, *arguments: str) -> None:
    """Install something, in the versions of the constraints."""
    command = [str(python), str(pip()), "install", *OPTIONS, *arguments]
    pinned = dict.fromkeys(CONSTRAINTS, str(constraints))
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | pinned)


def pip() -> Path:
    """Return pip as it comes with Python: a wheel that runs without installation."""
    folder = Path(sysconfig.get_config_var("WHEEL_PKG_DIR") or BUNDLED)
    for wheel in folder.glob("pip-*.whl"):
        return wheel / "pip"
    raise SystemExit(NO_PIP)


if __name__ == "__main__":
    print(f"setting up {sys.argv[1]} for {sys.argv[2]}, once …", file=sys.stderr)
    try:
        install(Path(sys.argv[1]), sys.argv[2])
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None
