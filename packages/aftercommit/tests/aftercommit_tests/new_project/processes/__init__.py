"""Projects that are made, checked and tested as their owners do."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path


def run(project: Path, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a project, whose sources it finds."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")} | variables,
        capture_output=True,
        text=True,
    )


def types_of(
    project: Path, shared_folder: Path, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    """Run mypy on a project; the first one of a test run reads the engine for all that wait."""
    with (shared_folder / "mypy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache = str(shared_folder / "mypy")
        return run(project, "-m", "mypy", "--cache-dir", cache, *arguments)
