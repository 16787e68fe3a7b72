"""PostgreSQL's connections: libpq's options, and limits for everything that can hang."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from anyio import CancelScope, current_time, fail_after
from sqlalchemy import URL, event
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util.concurrency import await_only as await_

from aftercommit.database.backend import GivenEngine, importing
from aftercommit.database.database_url import PLACES, wrong_url
from aftercommit.extensions.postgresql.timeouts import Timeouts

logger = logging.getLogger(__name__)

DRIVERS = {"asyncpg": "postgresql", "psycopg": "psycopg", "anyio": "trio"}
"""Drivers on asyncio, and the extras that install them; `anyio` is psycopg in threads."""
MADE_AT = "made at"  # of a connection: the event loop's time when it was first used
NOT_ANSWERED = (
    "a connection was accepted, but not answered within %g s: "
    "is a pooler before the server, and its pool too small?"
)

# https://www.postgresql.org/docs/current/libpq-connect.html; both drivers have these
TLS_VERSIONS = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}
CHOICES: Mapping[str, set[str]] = {
    "channel_binding": {"disable", "prefer", "require"},
    "gsslib": {"gssapi", "sspi"},
    "ssl_max_protocol_version": TLS_VERSIONS,
    "ssl_min_protocol_version": TLS_VERSIONS,
    "sslmode": {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
    "sslnegotiation": {"postgres", "direct"},
    "target_session_attrs": {
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    },
}
OPTIONS = CHOICES.keys() | {
    *("application_name", "connect_timeout", "host", "krbsrvname", "options", "passfile", "port"),
    *("sslcert", "sslcrl", "sslkey", "sslpassword", "sslrootcert"),
}

# settings on which promises of the engine depend, and for which databases or roles have defaults
SESSION = {
    "default_transaction_isolation": "read committed",  # after waiting for a lock, see changes
    "client_encoding": "UTF8",  # otherwise, some names could not be stored
    "DateStyle": "ISO",
    "extra_float_digits": 1,  # otherwise, a time would be read as another time
    "idle_session_timeout": 0,  # a connection that listens is idle
    "transaction_timeout": 0,  # each transaction has its own limits; an upgrade takes long
}
# "off" loses commits when the server crashes; whether others than its disk confirm is left alone
DURABLE = (
    "set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'off' THEN 'local' ELSE current_setting('synchronous_commit') END, false)"
)


def session_prefix(application: str) -> str:
    """Return the prefix of the names of an application's sessions; others are left alone."""
    return f"{application}:"


def new_engine(
    url: URL,
    timeouts: Timeouts,
    application: str,
    process: str,
    *,
    given: GivenEngine,
    is_stale: Callable[[float], bool],
    **options: Any,
) -> AsyncEngine:
    """Return an engine whose connections are set up, and tested before they are used again.

    It connects as the URL says, or like the engine that was `given`.

    If the time when a connection was made `is_stale`, the pool drops it, and all its other
    connections.

    The server shows them as the name of the application, a colon, and the `application_name` in the
    URL, or else the name of the process; the first 63 bytes of that.

    :raises InvalidValue: if libpq would not understand the URL, or its driver is not installed
    :raises ValueError: if an option in the URL has a wrong value
    """
    address, arguments = url, dict[str, Any]()
    if not given.connects:
        _check(url)
        address, arguments = _connect_args(url, timeouts)
    with importing(url.get_driver_name(), DRIVERS):
        engine = given.create(address, connect_args=arguments, **options)
    name = session_prefix(application) + str(url.query.get("application_name", process))
    settings = {"application_name": name, **SESSION, **server_settings(timeouts)}
    setting_up = partial(_set_up, settings, timeouts.connect)
    # before the dialect reads the isolation to which it returns after AUTOCOMMIT; but after
    # listeners of the application, some of which leave a transaction open
    event.listen(engine.sync_engine, "connect", setting_up, insert=not given.connects)
    if engine.dialect.driver == "psycopg":
        from aftercommit.extensions.postgresql.psycopg_connection import adopt

        event.listen(engine.sync_engine, "connect", adopt, insert=True)
    trying_out = partial(_try_out, engine.dialect, timeouts.ping, is_stale)
    event.listen(engine.sync_engine, "checkout", trying_out, insert=True)
    if given.connects:  # its dialect may have gone back to another isolation
        reading = partial(_read_committed, engine.dialect)
        event.listen(engine.sync_engine, "checkout", reading, insert=True)
    event.listen(engine.sync_engine, "close", _hang_up)
    return engine


def server_settings(timeouts: Timeouts) -> dict[str, float]:
    """Return the settings of each session: in milliseconds, but in seconds for the probes.

    By the probes, the kernel finds out that the other host has vanished.
    """
    return {
        "statement_timeout": round(timeouts.statement * 1000),
        "lock_timeout": round(timeouts.lock * 1000),
        "idle_in_transaction_session_timeout": round(timeouts.idle_in_transaction * 1000),
        "tcp_keepalives_idle": int(timeouts.keepalive / 4),
        "tcp_keepalives_interval": int(timeouts.keepalive / 4),
        "tcp_user_timeout": round(timeouts.keepalive * 1000),
        # indexes are in memory, or on a disk without seeks: so plans that use them are kept
        "random_page_cost": 1.1,
    }


def _check(url: URL) -> None:
    if not url.database:
        raise wrong_url("names no database")
    if url.query.keys() - OPTIONS:
        known = ", ".join(sorted({*OPTIONS, *PLACES}))
        raise wrong_url(f"has an option that is not supported; supported are {known}")
    for name, choices in CHOICES.items():
        if url.query.get(name, "") not in {"", *choices}:
            raise wrong_url(f"has a wrong {name}; it is one of {', '.join(sorted(choices))}")
    if not str(url.query.get("connect_timeout", "0")).isdecimal():
        raise wrong_url("has a wrong connect_timeout; it is a number of seconds")


def _connect_args(url: URL, timeouts: Timeouts) -> tuple[URL, dict[str, Any]]:
    seconds = int(str(url.query.get("connect_timeout", 0))) or timeouts.connect
    address = URL.create(url.drivername)  # of the engine, which shows it: it contains no secret
    driver = url.get_driver_name()
    if driver != "asyncpg":
        dialect = url.set(drivername="postgresql+psycopg").get_dialect()
        _, known = dialect().create_connect_args(url)
        if hosts := known.get("host"):
            known["host"] = re.sub(r"[][]", "", hosts)  # of IPv6; libpq writes them without
        known["connect_timeout"] = int(seconds)
        of_thread = {"abandonable": True} if driver == "anyio" else {}
        return address, {**known, **of_thread}
    if url.query.get("channel_binding") == "require":
        problem = "requires channel_binding, which asyncpg cannot do: leave it out, or begin with"
        raise wrong_url(f"{problem} postgresql+psycopg://")
    known_here = url.difference_update_query(["connect_timeout", "channel_binding"])
    dsn = known_here.set(drivername="postgresql").render_as_string(hide_password=False)
    return address, {"dsn": dsn, "timeout": seconds}  # it knows libpq's names only in this form


def _set_up(settings: Mapping[str, object], seconds: float, connection: Any, _: object) -> None:
    """Set up a session. Poolers accept no start-up parameters for it.

    Settings that an old server does not know are left out. A pooler accepts a connection before it
    has a session for it, and answers when it has one.
    """
    quoted = ((name, str(value).replace("'", "''")) for name, value in settings.items())
    calls = (
        f"CASE WHEN current_setting('{name}', true) IS NOT NULL"
        f" THEN set_config('{name}', '{value}', false) END"
        for name, value in quoted
    )
    try:
        connection.commit()  # set by a listener of the application
        connection.autocommit = True  # a rollback would undo it
        with fail_after(seconds):  # noqa: ASYNC100 - SQLAlchemy's greenlet awaits in it
            connection.cursor().execute(f"SELECT {', '.join((*calls, DURABLE))}")
        connection.autocommit = False
    except BaseException as error:  # nobody else would close it
        _hang_up(connection)
        if isinstance(error, TimeoutError):
            logger.warning(NOT_ANSWERED, seconds)
        raise


def _read_committed(dialect: Dialect, connection: Any, *_: object) -> None:
    """Give the next transaction the isolation that handlers rely on, without a statement."""
    dialect.set_isolation_level(connection, "READ COMMITTED")


def _try_out(
    dialect: Dialect,
    seconds: float,
    is_stale: Callable[[float], bool],
    connection: Any,
    record: ConnectionPoolEntry,
    _: object,
) -> None:
    """Test a connection; if it is dead or stale, drop those that were idle with it.

    With asyncpg, the transaction's BEGIN is the test: if it fails, nothing was executed, and it
    costs no extra round trip. SQLAlchemy has no public way to send BEGIN before the first
    statement.
    """
    if is_stale(record.info.setdefault(MADE_AT, current_time())):
        raise InvalidatePoolError
    try:
        with fail_after(seconds):  # noqa: ASYNC100 - SQLAlchemy's greenlet awaits in it
            if hasattr(connection, "_start_transaction"):
                await_(connection._start_transaction())
            else:
                dialect.do_ping(connection)
    except (dialect.loaded_dbapi.Error, OSError) as error:
        raise InvalidatePoolError from error


def _hang_up(connection: Any, _: object = None) -> None:
    """Close without the farewell: the server may never answer it."""
    driver = connection.driver_connection
    if hasattr(driver, "terminate"):  # a connection in a thread has none: the dialect handles that
        driver.terminate()


async def drop(connection: AsyncConnection) -> None:
    """Hang up on a connection that nobody else may use, even if the task is cancelled.

    A transaction that has not begun has none. The server, or a pooler, may not even answer a
    ROLLBACK.
    """
    with CancelScope(shield=True):
        if connection.sync_connection is not None:
            await connection.invalidate()
            await connection.close()
