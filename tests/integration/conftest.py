"""The places to store things, real and fake, that the contract suites run against."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worlds import FakeWorld, World, sql_world, sqlite_url


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio: the databases need it."""
    return "asyncio"


@pytest.fixture(params=["fake", "sqlite"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """A new, empty world of each kind."""
    if request.param == "fake":
        yield FakeWorld()
    else:
        async with sql_world(sqlite_url(tmp_path)) as world:
            yield world
