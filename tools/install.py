"""Installs the program with what one part of the work on it needs, when that is first asked for.

    python3 -m tools.install .venv test     # an extra of pyproject.toml

The application and the packages of this repository are installed by their paths, in one call, and
never by their names: an index could know others by these. First comes what builds them: with an
environment for each build, that would take longer than all else.

Any Python does that has `venv` and pip's wheel, as Debian's `python3-venv` brings it. The
environment has no pip of its own, which would be half of it; nothing is compiled before it is used.
"""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

BUNDLED = Path(sysconfig.get_path("stdlib")) / "ensurepip" / "_bundled"
OPTIONS = ("--quiet", "--disable-pip-version-check", "--no-warn-script-location", "--no-compile")
PINNED = dict.fromkeys(("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"), "constraints.txt")
"""The versions of all, also of what builds others; until 25.3, pip had one name for both."""
NO_PIP = "there is no pip here that could install it; on Debian: apt-get install python3-venv"


def install(environment: Path, extra: str) -> None:
    """Install the program with an extra, in the versions that the tests were run with."""
    python = environment / "bin" / "python"
    if not python.exists():
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(command, check=True)
    packages = sorted(Path().glob("packages/*/pyproject.toml"))
    files = [Path("pyproject.toml"), *packages]
    systems = [tomllib.loads(file.read_text())["build-system"] for file in files]
    run_pip(python, *sorted({name for each in systems for name in each["requires"]}))
    ours = [f".[{extra}]", *(str(file.parent) for file in packages)]
    editable = [argument for path in ours for argument in ("-e", path)]
    run_pip(python, "--no-build-isolation", *editable)


def run_pip(python: Path, *arguments: str) -> None:
    """Install something, in the versions of the constraints."""
    command = [str(python), str(pip()), "install", *OPTIONS, *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | PINNED)


def pip() -> Path:
    """Return pip as it comes with Python: a wheel, which runs as it is."""
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
