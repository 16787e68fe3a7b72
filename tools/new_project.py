"""Makes a project on the engine while there is no release of it: with wheels in `vendor`.

make new DIR=../shop OPTIONS="--http --brokers"
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from aftercommit.__main__ import new

PACKAGES = [Path("packages/sqlalchemy-anyio"), Path("packages/aftercommit")]
NO_FOLDER = "make new: which folder is the project to be in? Try: make new DIR=../shop"
ASKED = "Which folder is the project to be in? Its name becomes the project's, such as ../shop"


def main(folder: str, *options: str) -> None:
    """Make a project in a folder, which is asked for at a terminal if it is empty."""
    if not folder and not sys.stdin.isatty():
        raise SystemExit(NO_FOLDER)
    folder = folder or click.prompt(ASKED)
    with TemporaryDirectory() as wheels:
        for package in PACKAGES:
            click.echo(f"making the wheel of {package.name} …", err=True)
            command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels]
            subprocess.run(command, cwd=package, check=True, capture_output=True)
        new([folder, *options, "--wheels", wheels], prog_name="make new")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except click.Abort:
        raise SystemExit("make new: nothing was made") from None
