"""What makes a test a unit test can be enforced."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, reload
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


@pytest.mark.parametrize("pytest_imports_it", [False, True])
def test_a_module_is_compiled_by_its_first_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytest_imports_it: bool
) -> None:
    """In a new environment, Hypothesis imports parts of itself while it runs a test."""
    name = f"imported_here_{pytest_imports_it}"
    (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    if pytest_imports_it:
        pytest.register_assert_rewrite(name)

    with testing.no_io():
        module = import_module(name)

    assert module.VALUE == 1
    assert len([*(tmp_path / "__pycache__").iterdir()]) == 1
