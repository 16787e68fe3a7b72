"""Databases of the shop, in which its outbox has run before: only a first start makes the tables.

`empty_url` is for what is about that first start.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aftercommit import Outbox, testing
from sqlalchemy import make_url

SHOP = Outbox("shop", "sqlite:///shop.db", []).app


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new database file with the tables of the outbox."""
    return testing.sqlite_url(SHOP, tmp_path, "shop.db")


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a database with the tables of the outbox, to make others from."""
    with testing.postgresql_url(postgres_server) as url:
        testing.migrate(SHOP, url)
        yield str(make_url(url).database)
