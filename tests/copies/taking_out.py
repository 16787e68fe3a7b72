"""Takes extensions out of a copy, and checks the rest."""

import ast
import os
import re
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.copies.conftest import CORE_ON_ONE_EVENT_LOOP, ROOT, Copy

BRIEF = bool(os.environ.get("BRIEF"))


def take_out(copy: Copy, *extensions: str) -> None:
    copy.python("-m", "tools.extensions", "without", *extensions)


def files(copy: Copy) -> Iterator[Path]:
    """Yield the Python files that are left."""
    for folder in ("src", "tests", "benchmarks", "tools"):
        yield from (copy.folder / folder).rglob("*.py")


def requirements(folder: Path) -> set[str]:
    """Return the names of all distributions that pyproject.toml asks for."""
    return set(re.findall(r'"([a-z][\w.-]*)\S*>=', (folder / "pyproject.toml").read_text()))


def imported(file: Path) -> Iterator[str]:
    """Yield the packages that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


def assert_nothing_is_left_of(copy: Copy, extensions: list[str]) -> None:
    """Neither its modules nor its libraries: those of this process are there for all copies."""
    gone = {name.lower() for name in requirements(ROOT) - requirements(copy.folder)}
    libraries = packages_distributions()
    modules = re.compile(rf"allocation\.extensions\.({'|'.join(extensions)})\b")
    named = {str(file): modules.findall(file.read_text()) for file in files(copy)}
    needed = {
        str(file): name
        for file in files(copy)
        for name in imported(file)
        if gone.intersection(each.lower() for each in libraries.get(name, ()))
    }
    assert {file: names for file, names in named.items() if names} | needed == {}


def assert_the_rest_works(copy: Copy, extensions: list[str], *, brief: bool = BRIEF) -> None:
    """Check the copy, and run its tests; briefly, its modules are imported, and the demo is run.

    No extension knows of event loops, so that the tests of what is left run on one of them.
    """
    assert_nothing_is_left_of(copy, extensions)
    copy.check(types=not brief)
    assert "registered Иван" in copy.python("-m", "allocation", "demo")
    copy.test(
        "--collect-only", "tests/unit", "tests/integration", "tests/sqlalchemy_anyio", "tests/e2e"
    )
    if not brief:
        layers = ("tests/unit",) if BRIEF else ("tests/unit", "tests/integration")
        copy.test(*layers, *CORE_ON_ONE_EVENT_LOOP)
