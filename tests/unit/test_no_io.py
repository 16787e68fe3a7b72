"""What makes a test a unit test is enforced: see `conftest.py` in this folder."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "act",
    [
        lambda: sqlite3.connect(":memory:"),
        lambda: Path("users.csv").read_text(),
        lambda: Path("users.csv").write_text("name,email"),
        lambda: subprocess.run([sys.executable, "--version"]),
    ],
    ids=["a database", "a file that is read", "a file that is written", "a process"],
)
def test_a_unit_test_opens_nothing(act: Callable[[], object]) -> None:
    """It would be slow, depend on what is there, and belong to `tests/integration`."""
    with pytest.raises(AssertionError, match="a unit test has no I/O"):
        act()
