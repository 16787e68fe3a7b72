"""Databases of PostgreSQL; the server itself is also that of the dialects' tests."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url

from tests.databases import new_database
from tests.worlds import migrate


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with the current schema, to make others from."""
    with new_database(postgres_server) as url:
        migrate(url)
        yield str(make_url(url).database)


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """A new database with the current schema; it is gone after the test."""
    with new_database(postgres_server, template=postgres_template) as url:
        yield url
