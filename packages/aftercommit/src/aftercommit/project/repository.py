"""Begins the Git history of a new project, with all files in its first commit."""

import shutil
import subprocess
from pathlib import Path


def begin_repository(folder: Path) -> str:
    """Make a repository in a folder, and commit everything in it; return the result in words.

    Like `cargo new`, it does nothing in a folder that is inside another repository.
    """
    if shutil.which("git") is None:
        return "git is not installed, so there is no repository yet"
    if _git(folder, "rev-parse", "--is-inside-work-tree").returncode == 0:
        return "it is inside another Git repository, so none was made"
    for step in (["init", "-q", "-b", "main"], ["add", "--all"]):
        _git(folder, *step)
    made = _git(folder, "commit", "-q", "-m", "A project on aftercommit, as it was made")
    if made.returncode:
        return "git does not know who you are: set user.name and user.email, then git commit"
    return "its first commit is made"


def _git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True)
