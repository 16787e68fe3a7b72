"""Databases for measuring, each for one round: with the schema, and a batch of coupons.

SQLite files are on this project's disk. PostgreSQL is a server from a wheel, so that everybody can
measure.
"""

import atexit
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
from aftercommit import Database, testing
from psycopg.sql import SQL, Identifier
from sqlalchemy import make_url, text

from benchmarks.measured_application import COUPONS, opened, settings_for

ROOT = Path(__file__).parents[1]

Place = Callable[[], AbstractContextManager[str]]
"""Makes a database for a while, and returns its URL."""


WORDS = {
    "sqlite": {
        "new_id": "lower(hex(randomblob(16)))",
        "time": "'2026-01-01 00:00:00.000000'",
    },
    "postgresql": {
        "new_id": "gen_random_uuid()",
        "time": "CAST('2026-01-01' AS timestamptz)",
    },
}
TIDY = {"sqlite": ["ANALYZE"], "postgresql": ["VACUUM ANALYZE", "CHECKPOINT"]}


async def store(database: Database, statements: Sequence[str], **values: object) -> None:
    """Store these values with statements in the database's dialect, and vacuum it."""
    kind = database.engine.dialect.name
    async with database.write_transaction(no_timeout=True) as transaction:
        for statement in statements:
            await transaction.execute(text(statement.format(**WORDS[kind], **values)))
        await transaction.commit()
    async with database.engine.connect() as connection:
        options = {"isolation_level": "AUTOCOMMIT", "sqlite_begin": "BEGIN"}
        autocommit = await connection.execution_options(**options)
        for statement in TIDY[kind]:
            await autocommit.execute(text(statement))
        await autocommit.commit()


async def with_schema(url: str) -> None:
    """Create the schema, and a batch of coupons."""
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
def empty_url() -> Iterator[str]:
    """Reserve a place for a SQLite file while the context is open, and return its URL."""
    with folder() as place:
        yield f"sqlite:///{place}/allocation.db"


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

    It is a copy of a database that was prepared once; without `prepare`, it is empty.
    """
    template = _prepared(prepare, *values) if prepare else "template1"
    with testing.postgresql_url(_server(), template=template) as url:
        yield url


@cache
def _prepared(prepare: Prepare, *values: Any) -> str:
    name = f"template_{uuid4().hex}"
    with psycopg.connect(_server(), autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    url = make_url(_server()).set(database=name)
    anyio.run(prepare, url.render_as_string(hide_password=False), *values)
    return name


EMPTY: dict[str, Place] = {"SQLite": empty_url, "PostgreSQL": partial(new_database, None)}
"""Databases without a schema, of each kind."""


@cache
def _server() -> str:
    """Start the server, and return its URL; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="allocation-benchmarks-"))
    folder.chmod(0o755)  # the server runs as another user if this runs as root
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after the server, which ends first
    return testing.postgresql_server(folder / "postgres")
