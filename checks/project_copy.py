"""Copies the project, for what changes its files or begins with nothing installed."""

from pathlib import Path
from shutil import copy2

from aftercommit_tests.environments import run

from tools.repository import ROOT


def copy_project(folder: Path) -> None:
    """Copy all that is tracked, or will be, as it is now."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy2(ROOT / name, folder / name)
