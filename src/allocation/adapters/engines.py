"""The engine for a URL: which kind of database it names, and which driver this event loop needs."""

from itertools import chain
from pkgutil import resolve_name

from anyio.lowlevel import current_token
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from allocation.adapters.kinds import DatabaseKind
from allocation.domain.exceptions import InvalidValue
from allocation.rooms import DATABASES


def kind_of(url: str, *, handler_timeout: float) -> DatabaseKind:
    """Return what is to be known of the database at `url`.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    parsed = _parsed(url)
    found = DATABASES.get(parsed.get_backend_name())
    if found is None:
        raise _not_supported(parsed)
    kind_type: type[DatabaseKind] = resolve_name(found)
    with_driver = _driver(parsed, kind_type)
    kind = kind_type(with_driver, written=url, handler_timeout=handler_timeout)
    if not url.isprintable():
        raise InvalidValue("database URL", "has a character in it that cannot be printed")
    if not parsed.database:
        raise InvalidValue("database URL", "names no database")
    return kind


def new_engine(kind: DatabaseKind, *, connections: int) -> AsyncEngine:
    """Return an engine with a pool of so many connections; nothing is connected yet.

    :raises InvalidValue: if its driver is not installed
    """
    url, arguments = kind.for_driver()
    try:
        engine = create_async_engine(
            url, pool_size=connections, max_overflow=0, connect_args=arguments
        )
    except ImportError as error:  # psycopg without libpq has no name
        needed = error.name or "libpq"
        problem = f"needs {needed}; install allocation[{kind.extra}]"
        raise InvalidValue("database URL", problem) from None
    kind.listen(engine.sync_engine)
    return engine


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        forms = " or ".join(resolve_name(kind).form for kind in DATABASES.values())
        raise InvalidValue("database URL", f"is not of the form {forms}") from None
    return parsed


def _driver(url: URL, kind: type[DatabaseKind]) -> URL:
    """Return the URL with a driver that this event loop can use."""
    event_loop = _event_loop()
    usual, *_ = drivers = kind.drivers[event_loop]
    backend, _, driver = url.drivername.partition("+")
    if driver and driver not in drivers:
        known = driver in chain(*kind.drivers.values())
        raise _not_supported(url, f" on {event_loop}" if known else "")
    return url.set(drivername=f"{backend}+{driver or usual}")


def _not_supported(url: URL, where: str = "") -> InvalidValue:
    problem = f"names {url.drivername}, which is not supported{where}"
    return InvalidValue("database URL", problem)


def _event_loop() -> str:
    return "asyncio" if hasattr(current_token().native_token, "call_soon_threadsafe") else "trio"
