"""Things over HTTP."""

from collections.abc import AsyncIterator

import pytest

from aftercommit_tests.extensions.web.running import Web, running_web
from aftercommit_tests.things.app import APP, Settings


@pytest.fixture
def anyio_backend() -> str:
    """HTTP is served on asyncio only."""
    return "asyncio"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A database of one kind, unless a module says so: most of it does not depend on that."""
    return sqlite_url


@pytest.fixture
async def web(settings: Settings) -> AsyncIterator[Web]:
    """The HTTP application."""
    async with running_web(APP, settings) as web:
        yield web
