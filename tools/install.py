"""Installs the program with what one part of the work on it needs, when that is first asked for.

    python3 -m tools.install .venv test     # an extra of pyproject.toml

The application and the packages of this repository are installed together, each by its path: an
index could know another distribution by the same name. What builds them is installed once, beside
them: three times in environments of its own would take longer than all else.

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
PINNED = {"PIP_CONSTRAINT": "constraints.txt"}
NO_PIP = "there is no pip here that could install it; on Debian: apt-get install python3-venv"


def install(environment: Path, extra: str) -> None:
    """Install the program with an extra, in the versions that the tests were run with."""
    python = environment / "bin" / "python"
    if not python.exists():
        command = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
        subprocess.run(command, check=True)
    ours = [
        f".[{extra}]",
        *sorted(str(each.parent) for each in Path().glob("packages/*/pyproject.toml")),
    ]
    run_pip(python, *requirements_to_build())
    editable = [argument for each in ours for argument in ("-e", each)]
    run_pip(python, "--no-build-isolation", *editable)


def requirements_to_build() -> list[str]:
    """Return what builds the application, and so the packages, too."""
    required: list[str] = tomllib.loads(Path("pyproject.toml").read_text())["build-system"][
        "requires"
    ]
    return required


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
