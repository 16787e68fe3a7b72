"""Measures the source: how much there is to read, and how long files are.

The limits stand here, once; `test_code_size.py` compares.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from tools.repository import ROOT

ENGINE = ROOT / "packages" / "aftercommit" / "src" / "aftercommit"

ENGINE_LINES = 10326  # without extensions: what is read in an evening; 420 are examples
PATH_LINES = 1428  # the way of a delivery through it: what is read in an hour; 45 are examples
FILE_LINES = 350  # the life of a delivery, and what is done with it, are one file each
README_LINES = 200

LAYERS = ("unit", "integration", "e2e")
"""Of the application's tests."""

PATH = [
    "claims.py",
    "delivery_policy.py",
    "bus.py",
    "attempt.py",
    "deliveries/unit_of_work_scope.py",
    "deliveries/store.py",
    "process/worker.py",
]
"""What docs/README.md leads through after events and handlers."""


def engine() -> list[Path]:
    """Return the files of the engine: all but what is beside it, and the migrations themselves.

    Beside it are extensions, the outbox for sessions of others, projects and the test kit.
    """
    beside = ("extensions", "outbox", "project", "testing", "deliveries/migrations")
    aside = {*map(ENGINE.joinpath, (*beside, "__main__.py"))}
    return [file for file in files(ENGINE) if aside.isdisjoint([file, *file.parents])]


def files(*folders: Path) -> list[Path]:
    """Return the files of Python in some folders, or in all of ours, and below them."""
    folders = folders or (ROOT / "src", *ROOT.glob("packages/*/src"))
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


def count_of_tests(folder: Path) -> int:
    """Return how many functions that are tests stand in the files of a folder."""
    written = "".join(file.read_text() for file in files(folder))
    return len(re.findall(r"^ *(?:async )?def test_", written, re.MULTILINE))


def lines(some: Iterable[Path]) -> int:
    """Return how many lines these files have in all, as `wc -l` counts them."""
    return sum(file.read_text().count("\n") for file in some)
