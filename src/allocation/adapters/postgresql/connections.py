"""What PostgreSQL needs of its connections: libpq's options, and limits to all that can hang."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import URL, event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from allocation.adapters.postgresql.limits import Limits
from allocation.adapters.postgresql.watchdog import connection_given_back, connection_in_use
from allocation.domain.exceptions import InvalidValue

OPTIONS = {  # https://www.postgresql.org/docs/current/libpq-connect.html; asyncpg has these
    "application_name",
    "connect_timeout",
    "gsslib",
    "host",
    "krbsrvname",
    "passfile",
    "port",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "target_session_attrs",
}
PROBES = 3
IS_NEW = "is new"


def check(url: URL) -> None:
    """Refuse options that libpq does not know, such as those of one driver.

    :raises InvalidValue: if there are such
    """
    if unknown := sorted(url.query.keys() - OPTIONS):
        problem = f"has an unknown option: {', '.join(unknown)}; those of libpq are known"
        raise InvalidValue("database URL", f"{problem}, such as sslmode")
    if not re.fullmatch(r"\d+", str(url.query.get("connect_timeout", "0"))):
        raise InvalidValue("database URL", "has a connect_timeout that is no number of seconds")


def new_engine(url: URL, limits: Limits, process: str, **options: Any) -> AsyncEngine:
    """Return an engine whose connections are set up, and tried before they are used again.

    The server shows them under the name of the process, or the first 63 bytes of it, unless the URL
    has an `application_name`.

    :raises InvalidValue: if its driver is not installed
    """
    arguments = _connect_args(url, limits)
    try:
        engine = create_async_engine(_driver_url(url), connect_args=arguments, **options)
    except ImportError as error:  # psycopg without libpq has no name
        needed = f"needs {error.name or 'libpq'}; install allocation[postgres]"
        raise InvalidValue("database URL", needed) from None
    name = {} if "application_name" in url.query else {"application_name": process}
    _listen(engine.sync_engine, limits, {**server_settings(limits), **name})
    return engine


def _driver_url(url: URL) -> URL:
    """Return the URL without what `connect_args` hands to the driver in its own way."""
    if url.get_driver_name() != "asyncpg":
        return url
    return url.set(query={name: url.query[name] for name in url.query.keys() & {"host", "port"}})


def _connect_args(url: URL, limits: Limits) -> dict[str, Any]:
    """Return what the driver is given beside the URL: libpq's options, in its own way."""
    options = {name: value for name, value in url.query.items() if name not in ("host", "port")}
    seconds = int(str(options.pop("connect_timeout", 0))) or limits.connect
    if url.get_driver_name() == "asyncpg":  # it knows libpq's names in a DSN only
        return {"timeout": seconds, "dsn": f"postgresql://?{urlencode(options, doseq=True)}"}
    return {"connect_timeout": int(seconds), **_probes("keepalives_", limits), "keepalives": 1}


def _listen(engine: Engine, limits: Limits, settings: Mapping[str, int | str]) -> None:
    """Have every connection set up, and tried before it is used again."""

    def notice(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection_in_use(connection)
        record.info[IS_NEW] = True

    def set_up(connection: DBAPIConnection, _: object) -> None:
        _apply(connection, settings)

    def try_out(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        if not record.info.pop(IS_NEW, False):
            connection_in_use(connection, limits.ping)
            _ping(engine.dialect, connection)
        connection_in_use(connection)

    event.listen(engine, "checkin", lambda *_: connection_given_back())
    event.listen(engine, "connect", notice, insert=True)  # before SQLAlchemy's own set-up
    event.listen(engine, "connect", set_up)
    event.listen(engine, "checkout", try_out)
    event.listen(engine, "close", _close_without_waiting)


def _apply(connection: DBAPIConnection, settings: Mapping[str, int | str]) -> None:
    """Set what the session shall keep to. Poolers allow no start-up parameters for it."""
    connection.autocommit = True  # a rollback would take it back
    cursor = connection.cursor()
    cursor.execute(_setting(settings))
    cursor.close()
    connection.autocommit = False


def server_settings(limits: Limits) -> dict[str, int]:
    """Return the limits of each session: milliseconds, but seconds for the probes."""
    times = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    milliseconds = {name: round(seconds * 1000) for name, seconds in times.items()}
    return {**milliseconds, **_probes("tcp_keepalives_", limits)}


def _probes(prefix: str, limits: Limits) -> dict[str, int]:
    """How the kernel finds out that the other host has vanished, within `limits.silence`."""
    interval = int(limits.silence / (PROBES + 1))
    probes = {"idle": interval, "interval": interval, "count": PROBES}
    named = {f"{prefix}{name}": value for name, value in probes.items()}
    return {**named, "tcp_user_timeout": round(limits.silence * 1000)}


def _setting(settings: Mapping[str, int | str]) -> str:
    quoted = ((name, str(value).replace("'", "''")) for name, value in settings.items())
    calls = (f"set_config('{name}', '{value}', false)" for name, value in quoted)
    return f"SELECT {', '.join(calls)}"


def _ping(dialect: Dialect, connection: DBAPIConnection) -> None:
    """Try a connection; if it is dead, so are those that lay idle beside it."""
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _close_without_waiting(connection: DBAPIConnection, _: object) -> None:
    """Do not say good-bye to a server that may never answer."""
    driver = connection.driver_connection
    if not hasattr(driver, "fileno"):
        driver.terminate()
