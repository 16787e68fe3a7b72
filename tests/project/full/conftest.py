"""A copy of the project, and what every copy has to pass."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MYPY_CACHE = ".mypy_cache"
TIMEOUT_SECONDS = 800  # for busy machines; a minute on a quiet one


@dataclass(frozen=True)
class Copy:
    """The project in another folder. It runs with the interpreter and the libraries of this one."""

    folder: Path
    mypy_cache: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes: nothing of this test run, and its own modules first."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ALLOCATION_", "COVERAGE_", "MAKE", "PYTEST_"))
        }
        sources = (self.folder / "src", *sorted(self.folder.glob("packages/*/src")), self.folder)
        return environment | {"PYTHONPATH": os.pathsep.join(map(str, sources))}

    def run(self, *command: str) -> str:
        """Run a command in it that has to succeed, and return what it printed."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def python(self, *arguments: str) -> str:
        """Run a module or a file of it that has to succeed."""
        return self.run(sys.executable, *arguments)

    def check(self) -> None:
        """Run the linter, the type checker, and the import contracts."""
        self.python("-m", "ruff", "check", "--no-cache", ".")
        self.python("-m", "ruff", "format", "--no-cache", "--check", ".")
        self.python("-m", "mypy", "--cache-dir", str(self.mypy_cache))
        self.python(
            "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"
        )

    def test(self, *arguments: str) -> None:
        """Run tests of it."""
        self.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments)


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows already; of a copy, only what differs is checked anew."""
    cache = tmp_path_factory.mktemp("copies") / MYPY_CACHE
    if (ROOT / MYPY_CACHE).exists():
        shutil.copytree(ROOT / MYPY_CACHE, cache)
    return cache


@pytest.fixture
def copy(tmp_path: Path, mypy_cache: Path) -> Copy:
    """The project as it is, in another folder."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "copy"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    copy = Copy(folder, mypy_cache)
    copy.run("git", "init", "--quiet")
    copy.run("git", "add", "--all")
    return copy
