"""Projects that are made, checked and tested as their owners do."""

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
