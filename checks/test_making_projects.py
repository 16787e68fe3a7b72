"""`make new` asks where the project is to be, or says what to type."""

import io
import sys

import pytest

from tools import new_project


def test_without_a_terminal_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in a script can answer no question."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("../shop\n"))

    with pytest.raises(SystemExit, match=r"Try: make new DIR=\.\./shop"):
        new_project.main("")
