"""The engines: what each database needs so that the rest of the adapters need not know it."""

import re
import sqlite3
from itertools import chain
from typing import Any

from anyio.lowlevel import current_token
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from allocation.domain.exceptions import InvalidValue

DRIVERS = {  # by what is named in the URL; see dialects.py for those that end in anyio
    "asyncio": {
        "sqlite": "sqlite+aiosqlite",
        "sqlite+aiosqlite": "sqlite+aiosqlite",
        "sqlite+anyio": "sqlite+anyio",
        "postgresql": "postgresql+asyncpg",
        "postgresql+asyncpg": "postgresql+asyncpg",
        "postgresql+anyio": "postgresql+anyio",
    },
    "trio": {
        "sqlite": "sqlite+anyio",
        "sqlite+anyio": "sqlite+anyio",
        "postgresql": "postgresql+anyio",
        "postgresql+anyio": "postgresql+anyio",
    },
}

SQLITE_QUERY = {"mode", "timeout", "uri"}
SQLITE_BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
SQLITE_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
POSTGRES_CONNECT_SECONDS = 10


def new_engine(url: str, *, connections: int) -> AsyncEngine:
    """Return an engine for `url` with a pool of so many connections; nothing is connected yet.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    parsed = _with_driver(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    options = _sqlite_options(parsed) if is_sqlite else _postgres_options(parsed)
    try:
        engine = create_async_engine(parsed, pool_size=connections, max_overflow=0, **options)
    except ImportError as error:  # psycopg without libpq has no name
        raise InvalidValue(
            "database URL", f"needs {error.name or 'libpq'}; install allocation[postgres]"
        ) from None
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _set_up_sqlite_connection)
        event.listen(engine.sync_engine, "begin", _begin_sqlite_transaction)
    return engine


def _with_driver(url: str) -> URL:
    event_loop = _event_loop()
    try:
        parsed = make_url(url)
        driver = DRIVERS[event_loop].get(parsed.drivername)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise InvalidValue(
            "database URL", "is not of the form sqlite:///FILE or postgresql://HOST/DATABASE"
        ) from None
    if driver is None:
        where = f" on {event_loop}" if parsed.drivername in chain(*DRIVERS.values()) else ""
        problem = f"names {parsed.drivername}, which is not supported{where}"
        raise InvalidValue("database URL", problem)
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite(parsed)
    if not url.isprintable():
        raise InvalidValue("database URL", "has a character in it that cannot be printed")
    if not parsed.database:
        raise InvalidValue("database URL", "names no database")
    return parsed.set(drivername=driver)


def _event_loop() -> str:
    return "asyncio" if hasattr(current_token().native_token, "call_soon_threadsafe") else "trio"


def _check_sqlite(url: URL) -> None:
    if url.host or url.username or url.password:
        raise InvalidValue("database URL", "is not of the form sqlite:///FILE")
    if not url.database or ":memory:" in url.database or "memory" in url.query.values():
        raise InvalidValue("database URL", "names no file; an in-memory database is not supported")
    if url.query.keys() - SQLITE_QUERY or not _is_number(url.query.get("timeout", "0")):
        raise InvalidValue("database URL", "may have only timeout, mode and uri after the ?")


def _is_number(text: object) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?", str(text)) is not None


def _sqlite_options(url: URL) -> dict[str, Any]:
    return {} if "timeout" in url.query else {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}


def _postgres_options(url: URL) -> dict[str, Any]:
    limit = "timeout" if url.get_driver_name() == "asyncpg" else "connect_timeout"
    # pre-ping: a server that was restarted costs a reconnection, not a failed command
    return {"pool_pre_ping": True, "connect_args": {limit: POSTGRES_CONNECT_SECONDS}}


def _set_up_sqlite_connection(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    while not _switched_to_wal(cursor):
        cursor.execute("BEGIN IMMEDIATE")  # waits for the other, as long as `timeout` says
        cursor.execute("ROLLBACK")
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _switched_to_wal(cursor: DBAPICursor) -> bool:
    """Return False if another process writes to a new file: SQLite does not wait for it here."""
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def _begin_sqlite_transaction(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)
