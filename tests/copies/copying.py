"""A copy of the project in a folder of its own, and what can be run in it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.files import ROOT

FORGOTTEN = ("PYTEST_", "COV", "ALLOCATION_")  # what this test run has set for itself


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of what git knows, and of what it would know after `git add`."""

    folder: Path

    def run(self, *command: str, **environment: str) -> str:
        """Run a program in the copy, and return what it printed; it has to succeed."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(FORGOTTEN)}
        source = {"PYTHONPATH": str(self.folder / "src")}
        run = subprocess.run(
            command,
            cwd=self.folder,
            env=inherited | source | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert run.returncode == 0, f"{' '.join(command)}\n{run.stdout}"
        return run.stdout

    def python(self, module: str, *arguments: str, **environment: str) -> str:
        """Run a module of the copy, or of a library, in it."""
        return self.run(sys.executable, "-m", module, *arguments, **environment)

    def lint(self) -> None:
        """Do what `make lint` does."""
        self.python("ruff", "check", ".")
        self.python("ruff", "format", "--check", ".")
        self.python("mypy")
        self.run(str(Path(sys.executable).with_name("lint-imports")))


def copy_to(folder: Path) -> Copy:
    """Copy the project."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).exists():  # it is not, if it was deleted and not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return Copy(folder)
