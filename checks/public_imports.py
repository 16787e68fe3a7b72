"""What is public of the engine, and which files of its tests import something else.

Public is what users are shown to import: the names of `aftercommit` itself, its modules of which a
page or a docstring tells, the class of each extension, and whatever the application, a generated
project, an example or a page imports. All else may move, and a test that imports it moves, too.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import aftercommit

from tools.repository import ROOT

ENGINE = ROOT / "packages" / "aftercommit"
TESTS = ENGINE / "tests"
INSIDE = TESTS / "aftercommit_tests" / "inside"
"""What several tests need of the inside is named there, once."""

FILES = 18  # with those of `inside`: 16 today
NAMES = 206  # that are imported there; the last are the rows of schedules, and what brokers share
"""Limits, which only go down."""

WHOLE = ("errors", "sqlite", "alembic", "testing", "project", "extensions")
"""Modules of which all names are public: errors.md, testing.md, existing applications."""
SHOWN = (
    ROOT / "src",
    ROOT / "docs",
    ENGINE / "docs",
    ROOT / "examples",
    ENGINE / "examples",
    ENGINE / "src" / "aftercommit" / "project" / "template",
)
IN_A_PAGE = re.compile(r"^\+?\s*from (aftercommit[\w.]*) import ([\w, ]+)$", re.MULTILINE)
A_MODULE = re.compile(r"aftercommit(\.\w+)+(:\w+)?")

Name = tuple[str, str]


def private_imports() -> dict[Path, set[Name]]:
    """Return what is not public of that which files of the tests import, or name by a string."""
    public = {*_shown()}
    found = {file: _private(file, public) for file in sorted(TESTS.rglob("*.py"))}
    return {file: names for file, names in found.items() if names}


def _private(file: Path, public: set[Name]) -> set[Name]:
    tree = ast.parse(file.read_text())
    imported = {name for name in _imported(tree) if not _is_public(name, public)}
    named = {(text, "") for text in _modules_in_strings(tree)}
    return imported | {name for name in named if not _is_public(name, public)}


def _is_public(name: Name, public: set[Name]) -> bool:
    module, _, rest = name[0].removeprefix("aftercommit").removeprefix(".").partition(".")
    if not module:
        return name[1] in (*vars(aftercommit)["_HOMES"], *WHOLE) or not name[1]
    is_extension = module == "extensions" and rest.count(".") == 0 and name[1].endswith("Extension")
    return is_extension or name in public or (module in WHOLE and module != "extensions")


def _shown() -> Iterator[Name]:
    for folder in SHOWN:
        for file in folder.rglob("*.py"):
            yield from _imported(ast.parse(file.read_text()))
        for page in (*folder.rglob("*.md"), *folder.rglob("*.patch")):
            for module, names in IN_A_PAGE.findall(page.read_text()):
                yield from ((module, name.strip()) for name in names.split(","))


def _imported(tree: ast.Module) -> Iterator[Name]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names if _ours(node.module))
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if _ours(alias.name))


def _ours(module: str) -> bool:
    return module.partition(".")[0] == "aftercommit"


def _modules_in_strings(tree: ast.Module) -> Iterator[str]:
    """Yield the names of modules in strings, such as those whose functions a test would replace."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and A_MODULE.fullmatch(text) and _is_a_module(text):
            yield text


def _is_a_module(name: str) -> bool:
    path = ENGINE / "src" / Path(*name.partition(":")[0].split("."))
    candidates = (path, path.parent)  # the second is of a name in it
    return any(each.with_suffix(".py").is_file() for each in candidates)
