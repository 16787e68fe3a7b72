"""What the tests of the server have in common."""

import pytest


@pytest.fixture
def backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"
