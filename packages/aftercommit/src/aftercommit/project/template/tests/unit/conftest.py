"""Unit tests open no databases and no files; a test that does so fails."""

from collections.abc import Iterator

import pytest
from aftercommit import testing


@pytest.fixture(autouse=True)
def no_io() -> Iterator[None]:
    """Refuse what belongs to integration tests."""
    with testing.no_io():
        yield
