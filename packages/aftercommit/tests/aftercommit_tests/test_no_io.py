"""What makes a test a unit test can be enforced."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib import reload
from pathlib import Path

import pytest
from aftercommit import testing

ACTS: dict[str, Callable[[], object]] = {
    "a database": lambda: sqlite3.connect(":memory:"),
    "a file that is read": lambda: Path("users.csv").read_text(),
    "a file that is written": lambda: Path("users.csv").write_text("name,email"),
    "a process": lambda: subprocess.run([sys.executable, "--version"], check=True),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_nothing_is_opened(act: Callable[[], object]) -> None:
    """It would be slow, and depend on what is there."""
    with testing.no_io(), pytest.raises(AssertionError, match="a unit test has no I/O"):
        act()


def test_a_module_can_be_imported_and_later_all_is_as_it_was() -> None:
    """Other tests of the same process open what they need."""
    with testing.no_io():
        reload(json)

    assert ACTS["a process"]()
