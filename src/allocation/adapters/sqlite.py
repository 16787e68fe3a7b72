"""What SQLite needs of its connections: durable, private, never "database is locked"."""

import logging
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from allocation.adapters.calls import Line
from allocation.adapters.driver_errors import reason_of
from allocation.adapters.exceptions import StatementRefused
from allocation.adapters.kinds import DatabaseKind
from allocation.domain.exceptions import AllocationError, InvalidValue

QUERY = {"mode", "timeout", "uri"}
BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # while somebody reads, the log cannot begin anew, and grows; after that it shrinks to this
    "PRAGMA journal_size_limit = 16777216",
)
NEVER_HEAL = {
    sqlite3.SQLITE_ERROR,  # wrong SQL, no such table
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
FILE_IN_USE = "file in use"

logger = logging.getLogger(__name__)


class SQLite(DatabaseKind):
    """A file, which somebody may delete or exchange while it is in use.

    What is written to it then would be gone with the last connection, and nobody would know.
    """

    form = "sqlite:///FILE"
    drivers: ClassVar = {"asyncio": ("aiosqlite", "anyio"), "trio": ("anyio",)}
    extra = "sqlite"
    one_writer = True
    clock = "((julianday('now') - 2440587.5) * 86400.0)"
    wake_workers = lock_schema = take_time = take_pauses = None

    def __init__(self, url: URL, *, written: str, handler_timeout: float) -> None:
        _check(url, written)
        self._url = url
        self._may_be_made = url.query.get("mode", "rwc") == "rwc"
        self._path = _path_of(str(url.database), is_uri="uri" in url.query)
        self._was_there = False

    def for_driver(self) -> tuple[URL, dict[str, Any]]:
        timeout = {} if "timeout" in self._url.query else {"timeout": BUSY_SECONDS}
        return self._url, {"factory": self._open, **timeout}

    def listen(self, engine: Engine) -> None:
        """Have every connection set up, every transaction begun, and the file watched."""
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "checkout", self._check)
        event.listen(engine, "begin", _begin)

    def in_use(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def watching(self, line: Line) -> AbstractContextManager[None]:
        return nullcontext()  # a file may be slow, but does not vanish in silence

    def listening(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        return nullcontext()  # a file cannot call

    def meaning(self, error: DBAPIError) -> AllocationError | None:
        code, reason = getattr(error.orig, "sqlite_errorcode", None), reason_of(error.orig)
        undecodable = "Could not decode to UTF-8" in reason  # sqlite3 gives it no code
        return StatementRefused(reason) if code in NEVER_HEAL or undecodable else None

    def _open(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        """Connect, in the driver's thread. A file that has to be made is for nobody else to read.

        :raises sqlite3.OperationalError: if the file was there, and is not any more
        """
        if self._was_there and not os.path.exists(self._path):
            raise sqlite3.OperationalError(f"{self._path} was deleted while it was in use")
        if self._may_be_made:
            with suppress(OSError):  # it is there already, or SQLite says what is wrong
                Path(self._path).touch(0o600, exist_ok=False)
        return sqlite3.Connection(*args, **kwargs)

    def _remember(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info[FILE_IN_USE] = self._identity()
        self._was_there = True

    def _check(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        """Have all connections opened anew if the file is not the one they have open."""
        if self._identity() != record.info[FILE_IN_USE]:
            logger.warning("%s is not the file any more that was opened", self._path)
            raise InvalidatePoolError

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # waits for nothing: the file is open
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _check(url: URL, written: str) -> None:
    """Refuse what is no file. An option without a value is only in the URL as it was written."""
    if url.host or url.username or url.password:
        raise InvalidValue("database URL", "is not of the form sqlite:///FILE")
    if not url.database or ":memory:" in url.database or "memory" in url.query.values():
        raise InvalidValue("database URL", "names no file; an in-memory database is not supported")
    options = written.partition("?")[2]
    if unknown := {option.partition("=")[0] for option in options.split("&") if options} - QUERY:
        problem = (
            f"has {', '.join(sorted(unknown))} after the ?; there may be mode, timeout and uri"
        )
        raise InvalidValue("database URL", problem)
    if not re.fullmatch(r"\d+(\.\d+)?", str(url.query.get("timeout", "0"))):
        raise InvalidValue("database URL", "has a timeout that is no number of seconds")


def _path_of(database: str, *, is_uri: bool) -> str:
    return os.path.abspath(unquote(urlsplit(database).path) if is_uri else database)


def _set_up(connection: DBAPIConnection, _: object) -> None:
    connection.isolation_level = None  # or sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    while not _switched_to_wal(cursor):
        cursor.execute("BEGIN IMMEDIATE")  # waits for the other, as long as `timeout` says
        cursor.execute("ROLLBACK")
    for pragma in PRAGMAS:
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


def _begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)
