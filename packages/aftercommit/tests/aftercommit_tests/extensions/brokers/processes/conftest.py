"""The application whose processes talk to brokers."""

from pathlib import Path

import pytest
from aftercommit import testing

from aftercommit_tests.processes import Installation
from aftercommit_tests.things.app import APP


@pytest.fixture
def installation(tmp_path: Path, backend: str) -> Installation:
    """The application, whose database has its schema."""
    testing.sqlite_url(APP, tmp_path, "things.db")
    return Installation(tmp_path, backend=backend)
