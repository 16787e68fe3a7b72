"""Installs the program with the requirements of one kind of work, when these are first needed.

    python3 -m tools.install .venv test     # an extra of pyproject.toml

The application and the packages of this repository are installed by their paths, never by their
names, because an index could have other packages with these names. Their requirements and build
tools are installed first: a separate environment for each build would take longer than everything
else.

Any Python with `venv` and pip's wheel works, such as Debian's with `python3-venv`. The environment
has no pip of its own, which would be half of its size; nothing is compiled before it is used.

This is the first thing that a new user runs. An older Python, too, can read this file, to say that
it is too old.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from select import select
from time import monotonic
from typing import Any

BUNDLED = Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled"
OPTIONS = ("--disable-pip-version-check", "--no-warn-script-location", "--no-compile")
CONSTRAINTS = ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")  # until 25.3, pip had one name for both
PINNED = Path("constraints.txt")
"""The versions of everything, including build tools."""
NO_PIP = "error: this Python has no venv and no pip; on Debian: apt-get install python3-venv"
INTERRUPTED = "connection broken by"
GIVEN_UP = "Retry(total=0"
SAY_SECONDS = 3.0
BEGAN = monotonic()


def install(environment: Path, extra: str, constraints: Path = PINNED) -> None:
    """Install the program with an extra, in the tested versions."""
    ensure_possible(environment)
    python = environment / "bin" / "python"
    if not python.exists():
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(command, check=True)
    ours = pyprojects()
    projects = {each["project"]["name"]: each["project"] for each in ours.values()}
    program = next(iter(projects))
    builders = {name for each in ours.values() for name in each["build-system"]["requires"]}
    required = sorted(builders | {*needed(projects, f"{program}[{extra}]")})
    run_pip(python, constraints, *required, what="requirements")
    editable = [argument for folder in ours for argument in ("-e", str(folder))]
    run_pip(
        python, constraints, "--no-build-isolation", "--no-deps", *editable, what="this project"
    )
    make_paths_relative(environment)
    say("installed; the first command compiles, and begins some seconds later")


def ensure_possible(environment: Path) -> None:
    """Say what is missing, and what to do about it, before anything is downloaded.

    :raises SystemExit: if Python is too old, or has no pip, or if the folder cannot be written
    """
    requires = re.search(r'requires-python = ">=(\d+)\.(\d+)"', Path("pyproject.toml").read_text())
    assert requires
    oldest = int(requires[1]), int(requires[2])
    if sys.version_info < oldest:
        needed, this = ".".join(requires.groups()), ".".join(map(str, sys.version_info[:3]))
        raise SystemExit(
            f"error: Python {needed} or newer is needed; this is {this}. {newer(*oldest)}"
        )
    pip()
    folder = environment if environment.exists() else environment.absolute().parent
    if not os.access(folder, os.W_OK):
        problem = (
            f"error: you cannot write to the folder {folder}, where {environment.name} is made"
        )
        raise SystemExit(f"{problem}; copy the project into a folder of your own, and run it there")


def newer(major: int, minor: int) -> str:
    """Say how to run `make` with a newer Python: with one that is here, if there is any."""
    names = [f"python{major}.{each}" for each in range(minor, minor + 10)]
    for name in filter(shutil.which, reversed(names)):
        if subprocess.run([name, "-c", "import venv"], capture_output=True).returncode == 0:
            return f"There is one here: add PYTHON={name} to the command"
    example = names[2]
    return f"Install one, such as {example}, and add PYTHON={example} to the command"


def make_paths_relative(environment: Path) -> None:
    """Let the environment name the project's folders by relative paths, which are ASCII.

    Up to 3.12, Python reads absolute ones in the encoding of the locale: where a folder has an
    umlaut in its name, and the locale is C, no command of the environment could start.
    """
    for file in environment.glob("lib/python*/site-packages/*.pth"):
        lines = os.fsdecode(file.read_bytes()).splitlines()
        if lines and all(Path(line).is_dir() for line in lines):
            relative = [os.path.relpath(line, file.parent.absolute()) for line in lines]
            file.write_bytes(os.fsencode("".join(f"{line}\n" for line in relative)))


def pyprojects() -> dict[Path, Any]:
    """Return the pyproject.toml of the application, and of each package, by their folders."""
    import tomllib  # noqa: PLC0415 - see the docstring of this module

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


def run_pip(python: Path, constraints: Path, *arguments: str, what: str) -> None:
    """Install something, in the versions of the constraints; say every few seconds how far it is.

    :raises SystemExit: if it cannot be installed
    """
    command = [str(python), str(pip()), "install", "--progress-bar=off", *OPTIONS, *arguments]
    variables = {**dict.fromkeys(CONSTRAINTS, str(constraints)), "PYTHONUNBUFFERED": "1"}
    printed, said = "", monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | variables
    ) as process:
        assert process.stdout
        pipe, is_open = process.stdout.fileno(), True
        while is_open:
            if select([pipe], [], [], SAY_SECONDS)[0]:
                part = os.read(pipe, 2**16).decode(errors="replace")
                printed, is_open = printed + part, bool(part)
            if monotonic() - said > SAY_SECONDS:
                say(f"{what}: {latest(printed)}")
                said = monotonic()
    if process.returncode != 0:
        raise SystemExit(explained(printed))


def latest(printed: str) -> str:
    """Return what pip does now, from the last line that it has printed."""
    line = printed.strip().rpartition("\n")[2].strip()
    if INTERRUPTED in line:
        return "no connection to the package index; trying again"
    if line.startswith("Installing collected packages: "):
        return f"installing {line.count(',') + 1} packages"
    return re.sub(r"^Collecting (\S+?)[\[!=<>~; ].*", r"looking for \1", line) or "pip starts"


def say(line: str) -> None:
    """Print a line with the time since the start, in 80 columns."""
    print(f"{monotonic() - BEGAN:4.0f} s  {line[:72]}", file=sys.stderr)


def explained(printed: str) -> str:
    """Say what to do after an error of pip, whose own last words mislead if there is no network."""
    if GIVEN_UP in printed:
        problem = "error: the package index cannot be reached"
        return f"{problem}: is there a network, or a proxy to name in HTTPS_PROXY? Then repeat it"
    return f"{printed}error: pip could not install what is needed; its message is above"


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
    except subprocess.CalledProcessError as error:  # from `venv`, which has said why
        raise SystemExit(error.returncode) from None
