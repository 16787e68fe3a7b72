"""What makes a test a unit test is enforced: see `conftest.py` in this folder."""

from pathlib import Path

import pytest


def test_a_unit_test_opens_no_file() -> None:
    """It would be slow, and depend on what is there. It belongs to `tests/integration`."""
    with pytest.raises(AssertionError, match="a unit test has no I/O"):
        Path("users.csv").write_text("name,email")
