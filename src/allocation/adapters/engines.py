"""The engines: which dialect a URL needs on this event loop, and what its connections need."""

from itertools import chain
from typing import Any

from anyio.lowlevel import current_token
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from allocation.adapters import postgres, sqlite
from allocation.adapters.limits import Limits
from allocation.domain.exceptions import InvalidValue

DRIVERS = {  # by what is named in the URL; those that end in anyio are dialects of our own
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


def new_engine(url: str, *, connections: int, limits: Limits) -> AsyncEngine:
    """Return an engine for `url` with a pool of so many connections; nothing is connected yet.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    parsed = _with_driver(url)
    if parsed.get_backend_name() == "sqlite":
        file = sqlite.DatabaseFile(parsed)
        engine = _pooled(parsed, file.connect_args(), connections)
        file.listen(engine.sync_engine)
    else:
        arguments = postgres.connect_args(parsed, limits)
        engine = _pooled(postgres.driver_url(parsed), arguments, connections)
        postgres.listen(engine.sync_engine, limits)
    return engine


def _pooled(url: URL, arguments: dict[str, Any], connections: int) -> AsyncEngine:
    try:
        return create_async_engine(
            url, pool_size=connections, max_overflow=0, connect_args=arguments
        )
    except ImportError as error:  # psycopg without libpq has no name
        raise InvalidValue(
            "database URL", f"needs {error.name or 'libpq'}; install allocation[postgres]"
        ) from None


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
        sqlite.check(parsed, url)
    else:
        postgres.check(parsed)
    if not url.isprintable():
        raise InvalidValue("database URL", "has a character in it that cannot be printed")
    if not parsed.database:
        raise InvalidValue("database URL", "names no database")
    return parsed.set(drivername=driver)


def _event_loop() -> str:
    return "asyncio" if hasattr(current_token().native_token, "call_soon_threadsafe") else "trio"
