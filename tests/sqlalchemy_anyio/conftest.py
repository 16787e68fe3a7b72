"""An empty database of each kind, and a server that can freeze."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.sqlalchemy_anyio.relay import Relay


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """A database of each kind."""
    if request.param == "sqlite":
        url = make_url(f"sqlite+anyio:///{tmp_path}/test.db")
    else:
        url = make_url(request.getfixturevalue("empty_postgres_url"))
        url = url.set(drivername="postgresql+anyio")
    return with_driver(url)


@pytest.fixture
async def engine(url: URL) -> AsyncIterator[AsyncEngine]:
    """An engine with one connection."""
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    yield engine
    await engine.dispose()


@pytest.fixture
def relay(empty_postgres_url: str) -> Iterator[Relay]:
    """What can freeze."""
    with closing(Relay(empty_postgres_url)) as relay:
        yield relay


@pytest.fixture
def relayed_url(relay: Relay, empty_postgres_url: str) -> URL:
    """A database of PostgreSQL behind what can freeze."""
    url = make_url(empty_postgres_url).set(drivername="postgresql+anyio")
    return with_driver(url.set(host="127.0.0.1", port=relay.port, query={}))


def with_driver(url: URL) -> URL:
    """Import the driver now, which may block."""
    url.get_dialect().import_dbapi()
    return url
