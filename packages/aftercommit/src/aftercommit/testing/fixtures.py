"""Fixtures for the tests of an application: a plugin of pytest.

    pytest_plugins = ["aftercommit.testing.fixtures"]

That conftest.py defines one fixture of its own, `app`, which returns the `App`.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from aftercommit import testing
from aftercommit.process.app import App


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests. The engine's own run on Trio, too."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server, which comes out of a wheel.

    Its folder is none of pytest's, which are closed to other users; for root, it is one.
    """
    with TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield testing.postgresql_server(Path(folder) / "data")


@pytest.fixture
def postgres_url(app: App[Any], postgres_server: str) -> Iterator[str]:
    """A new database on PostgreSQL with the schema of the application; gone after the test."""
    with testing.postgresql_url(postgres_server) as url:
        testing.migrate(app, url)
        yield url


@pytest.fixture
def sqlite_url(app: App[Any], tmp_path: Path) -> str:
    """A new file with the schema of the application."""
    return testing.sqlite_url(app, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind, with the schema of the application."""
    return str(request.getfixturevalue(f"{request.param}_url"))
