"""An empty database of each kind, and a server that can freeze."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aftercommit_tests.proxy import Proxy, postgres_behind_a_proxy
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


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
    engine = create_async_engine(url, pool_size=1, max_overflow=0)
    yield engine
    await engine.dispose()


@pytest.fixture
def proxied(empty_postgres_url: str, free_tcp_port: int) -> Iterator[tuple[URL, Proxy]]:
    """A database of PostgreSQL, and the way to it, which can freeze."""
    with postgres_behind_a_proxy(empty_postgres_url, port=free_tcp_port) as (url, proxy):
        yield with_driver(make_url(url).set(drivername="postgresql+anyio")), proxy


def with_driver(url: URL) -> URL:
    """Import the driver now, which may block."""
    url.get_dialect().import_dbapi()
    return url
