"""The places to store things that this room works on."""

from collections.abc import AsyncIterator

import pytest

from tests.worlds import SqlWorld, sql_world


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SqlWorld]:
    """A new, empty world on each database: fakes are not operated."""
    async with sql_world(database_url) as world:
        yield world
