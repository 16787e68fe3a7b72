"""Makes pytest run the suite as SQLAlchemy does; that is why it cannot run with the other tests."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy.dialects.postgresql.provision
import sqlalchemy.dialects.sqlite.provision  # noqa: F401 - how the suite prepares its databases
from aftercommit import testing
from sqlalchemy import make_url
from sqlalchemy.testing import provision
from sqlalchemy.testing.plugin import pytestplugin
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: F403 - hooks of pytest

SCHEMAS = ("test_schema", "test_schema_2")  # the suite expects them


@provision.post_configure_engine.for_db("postgresql")  # type: ignore[untyped-decorator]
def install_no_extensions(*_: object) -> None:
    """SQLAlchemy's own tests need some; these do not, and a server out of a wheel has none."""


def pytest_configure(config: pytest.Config) -> None:  # type: ignore[no-redef]
    """Name the databases."""
    resources = ExitStack()
    config.add_cleanup(resources.close)
    postgres_url = resources.enter_context(new_postgres_database())
    config.option.dburi = ["sqlite+anyio:///compliance.db", postgres_url]
    pytestplugin.pytest_configure(config)


@contextmanager
def new_postgres_database() -> Iterator[str]:
    """Make a database, on the server you name or on one out of a wheel, and return its URL."""
    server = os.environ.get("ALLOCATION_TEST_POSTGRES_URL")
    with testing.postgresql_url(server or testing.postgresql_server(Path("postgres"))) as url:
        with psycopg.connect(url) as new:
            for schema in SCHEMAS:
                new.execute(f"CREATE SCHEMA {schema}")
        yield make_url(url).set(drivername="postgresql+anyio").render_as_string(hide_password=False)
