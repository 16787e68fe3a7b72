"""Anyone who follows the tutorial, or adds the worked use case, sees what the page says."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from checks.console_blocks import shows
from checks.project_copy import copy_project
from checks.tutorial_commands import BY_HAND, PATCH, TUTORIAL, VARIABLES, tutorial
from tools.repository import ROOT

pytestmark = pytest.mark.check

MYPY_CACHE = ".mypy_cache"
TIMEOUT_SECONDS = 800  # for busy machines; a minute on a quiet one
AFFECTED = {
    "tests/unit",
    *(str(file.relative_to(ROOT)) for file in ROOT.glob("checks/test_*.py")),
    *(file for file in BY_HAND if file.startswith(("tests/integration/test", "tests/e2e/"))),
    "tests/integration/test_schema.py",
    "checks/pages/test_readme.py::test_every_command_of_a_page_about_extensions_does_what_it_says",
}
AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.com")
CHECKS = (
    ("-m", "ruff", "check", "--no-cache", "."),
    ("-m", "ruff", "format", "--no-cache", "--check", "."),
    ("-m", "mypy"),
    ("-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"),
)


@dataclass(frozen=True)
class Copy:
    """The project in another folder. It runs with the interpreter and the libraries of this one."""

    folder: Path

    def start(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command without the variables of this test run, with its own modules first."""
        ours = ("ALLOCATION_", "COVERAGE_", "MAKE", "PYTEST_")
        outside = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
        of_packages = [*self.folder.glob("packages/*/src"), *self.folder.glob("packages/*/tests")]
        sources = (self.folder / "src", *sorted(of_packages), self.folder)
        own = {
            "MYPY_CACHE_DIR": str(self.folder.with_name(MYPY_CACHE)),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env=outside | own | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )

    def run(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed, and return what it printed."""
        result = self.start(*command, **variables)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}"
        return result.stdout

    def python(self, *arguments: str, **variables: str) -> str:
        """Run a module or a file of it that has to succeed."""
        return self.run(sys.executable, *arguments, **variables)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """The project as it is, in another folder; of what mypy knows, only what differs is new."""
    copy = Copy(tmp_path / "copy")
    copy_project(copy.folder)
    if (ROOT / MYPY_CACHE).exists():
        shutil.copytree(ROOT / MYPY_CACHE, tmp_path / MYPY_CACHE)
    copy.run("git", "init", "--quiet")
    copy.run("git", "add", "--all")
    return copy


@pytest.mark.timeout(1000)
def test_the_tutorial_can_be_followed(copy: Copy) -> None:
    """In the folder in which README's commands have run, its own print what is shown."""
    copy.python("-m", "allocation", "register-user", "Иван", "ivan@example.com")
    installed = " ".join(f"-o {sys.prefix}/installed-{part}" for part in ("demo", "test"))
    for step in tutorial():
        line = step.line.replace("make ", f"make -s {installed} VENV={sys.prefix} ", 1)
        typed = f'allocation() {{ python -m allocation "$@"; }}; {line}'
        result = copy.start("bash", "-c", typed, **VARIABLES)
        fails = re.search(r"error|failed", "\n".join(step.shown), re.IGNORECASE)
        assert shows(result.stdout, step.shown), f"$ {line}\n{result.stdout}"
        assert (result.returncode != 0) == bool(fails), f"$ {line}"


def test_the_use_case_is_mended_as_the_page_for_contributors_says(copy: Copy) -> None:
    """A clone has none of the files that the patch was made from."""
    changed, new = "src/allocation/adapters/orm.py", "tests/integration/test_waiting_list.py"
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [recipe] = re.findall(r"^ {4}PATCH=.*\n(?: {4}.*\n)+", page, re.MULTILINE)
    start, apply, *finish = recipe.splitlines()
    text = (copy.folder / changed).read_text()
    # the lines next to what the patch adds
    for near in ("import dataclass", "email_undeliverable", "coupon_state"):
        text = text.replace(near, f"a_new_{near}")
    (copy.folder / changed).write_text(text)
    copy.run("git", *AUTHOR, "commit", "--quiet", "--all", "--message", "what has changed")

    copy.start("bash", "-c", f"{start}\n{apply}")
    rejected = [str(each.relative_to(copy.folder)) for each in copy.folder.rglob("*.rej")]
    copy.run("bash", "-ec", "\n".join([start, *finish]))

    made = (copy.folder / PATCH.relative_to(ROOT)).read_text()
    assert rejected == [f"{changed}.rej"]
    assert f"+++ b/{new}" in made
    assert ".rej" not in made
    assert f"+++ b/{changed}" not in made
    copy.run("git", "apply", "--check", str(PATCH.relative_to(ROOT)))


@pytest.mark.timeout(600)
def test_the_finished_use_case_passes_what_every_change_has_to_pass(copy: Copy) -> None:
    """Patch, two commands, done. The tests it touches run on one event loop: it knows of none."""
    name, *_ = re.findall(r'make migration NAME="(.+?)"', TUTORIAL.read_text())

    copy.run("git", "apply", str(PATCH))
    history = "allocation.adapters.migrations:HISTORY"
    made = copy.python("-m", "aftercommit.project.migration", history, name)
    written = copy.python("-m", "tools.message_compatibility")
    copy.python("-m", "tools.generated")

    assert f"_{name.lower().replace(' ', '_')}.py" in made
    assert "written: stored_events.json" in written
    for check in CHECKS:
        copy.python(*check)
    pytest_ = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "-k", "not trio")
    copy.python(*pytest_, *sorted(AFFECTED))
    assert "leave-waiting-list" in copy.python("-m", "allocation", "--help")
