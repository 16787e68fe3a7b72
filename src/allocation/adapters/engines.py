"""The engines: what each database needs so that the rest of the adapters need not know it."""

import re
from typing import Any

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from allocation.domain.exceptions import InvalidValue

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

SQLITE_QUERY = {"mode", "timeout", "uri"}
SQLITE_BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)
POSTGRES_CONNECT_SECONDS = 10


def new_engine(url: str, *, connections: int, backend: str) -> AsyncEngine:
    """Return an engine for `url` with a pool of so many connections; nothing is connected yet.

    :raises InvalidValue: if the URL cannot be understood, or does not work on this event loop
    """
    if backend != "asyncio":
        raise InvalidValue("backend", f"{backend} does not support the database yet; use asyncio")
    parsed = _with_driver(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    options = _sqlite_options(parsed) if is_sqlite else _postgres_options()
    try:
        engine = create_async_engine(parsed, pool_size=connections, max_overflow=0, **options)
    except ModuleNotFoundError as error:
        raise InvalidValue(
            "database URL", f"needs {error.name}; install allocation[postgres]"
        ) from None
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _set_up_sqlite_connection)
        event.listen(engine.sync_engine, "begin", _begin_sqlite_transaction)
    return engine


def _with_driver(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise InvalidValue(
            "database URL", "is not of the form sqlite:///FILE or postgresql://HOST/DATABASE"
        ) from None
    if parsed.drivername not in DRIVERS.values():
        raise InvalidValue("database URL", f"names {parsed.drivername}, which is not supported")
    if parsed.get_backend_name() == "sqlite":
        _check_sqlite(parsed)
    if not (parsed.database and url.isprintable()):
        raise InvalidValue("database URL", "names no database")
    return parsed


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


def _postgres_options() -> dict[str, Any]:
    # pre-ping: a server that was restarted costs a reconnection, not a failed command
    return {"pool_pre_ping": True, "connect_args": {"timeout": POSTGRES_CONNECT_SECONDS}}


def _set_up_sqlite_connection(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    for pragma in SQLITE_PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite_transaction(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)
