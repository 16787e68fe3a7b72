"""Measures the source: how much there is to read, how long files and functions are.

The limits stand here, once; `test_shape.py` compares.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median, quantiles

from tools.files import ROOT

APPLICATION = ROOT / "src" / "allocation"
ENGINE = ROOT / "packages" / "aftercommit" / "src" / "aftercommit"
DIALECTS = ROOT / "packages" / "sqlalchemy-anyio" / "src" / "sqlalchemy_anyio"

ENGINE_LINES = 6114  # without extensions: what is read in an evening; 417 are examples
PATH_LINES = 1107  # the way of a delivery through it: what is read in an hour; 51 are examples
FILE_LINES = 250
README_LINES = 200
MEDIAN_BODY_LINES = 6
LONG_BODY_LINES = 15  # nine functions in ten are shorter, or as long

PATH = [
    "unit_of_work.py",
    "claims.py",
    "bus.py",
    "sql/unit_of_work.py",
    "sql/outbox.py",
    "process/worker.py",
]
"""What docs/README.md leads through after events and handlers."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def engine() -> list[Path]:
    """Return the files of the engine: all but what is beside it, and the migrations themselves.

    Beside it are extensions, the outbox for sessions of others, projects, and the test kit.
    """
    beside = ("extensions", "outbox", "project", "testing", "sql/migrations/versions")
    aside = {*map(ENGINE.joinpath, beside)}
    return [file for file in files(ENGINE) if aside.isdisjoint(file.parents)]


def files(*folders: Path) -> list[Path]:
    """Return the files of Python in some folders, or in all of ours, and below them."""
    folders = folders or (APPLICATION, ENGINE, DIALECTS)
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def lines(some: Iterable[Path]) -> int:
    """Return how many lines these files have in all, as `wc -l` counts them."""
    return sum(file.read_text().count("\n") for file in some)


def functions(some: Iterable[Path]) -> tuple[float, float]:
    """Return the median of the lines of all bodies, and what nine in ten do not exceed."""
    sizes = [size for file in some for size in _body_lines(file)]
    return median(sizes), quantiles(sizes, n=10, method="inclusive")[-1]


def _body_lines(file: Path) -> Iterator[int]:
    """Yield the lines of each function's body, without its docstring."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, _Function):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield (body[-1].end_lineno or 0) - body[0].lineno + 1
