"""What SQLite needs of its connections: durable, private, and patient with other writers."""

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from allocation.adapters.calls import DriverCalls, reason_of
from allocation.adapters.exceptions import StatementRefused
from allocation.adapters.kinds import DatabaseKind
from allocation.domain.exceptions import AllocationError, InvalidValue

BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
MAX_LOG_BYTES = 2**24  # while somebody reads, the log grows; then it shrinks to this
NEVER_HEAL = {"SQLITE_ERROR", "SQLITE_TOOBIG", "SQLITE_MISMATCH", "SQLITE_RANGE"}  # SQL, or data

logger = logging.getLogger(__name__)


class SQLite(DatabaseKind):
    """A file, which somebody may delete or exchange while it is in use.

    What is written to it then would be gone with the last connection, and nobody would know.
    """

    form = "sqlite:///FILE"
    asyncio_driver = "aiosqlite"
    clock = "((julianday('now') - 2440587.5) * 86400.0)"
    one_writer = True

    def __init__(self, url: URL, *, written: str, handler_timeout: float) -> None:
        name = str(url.database)
        if url.host or url.username or url.password:
            raise InvalidValue("database URL", f"is not of the form {self.form}")
        if not url.database or ":memory:" in name or "memory" in url.query.values():
            raise InvalidValue(
                "database URL", "names no file; an in-memory database is not supported"
            )
        # as it was written: SQLAlchemy drops an option without a value, and another file is meant
        options = {option.partition("=")[0] for option in written.partition("?")[2].split("&")}
        if unknown := ", ".join(sorted(options - {"", "mode", "timeout", "uri"})):
            problem = f"has {unknown} after the ?; there may be mode, timeout and uri"
            raise InvalidValue("database URL", problem)
        self._url = url
        self._may_be_made = url.query.get("mode", "rwc") == "rwc"
        self._path = os.path.abspath(unquote(urlsplit(name).path) if "uri" in url.query else name)
        self._was_there = False

    def new_engine(self, process: str, **options: Any) -> AsyncEngine:
        timeout = {} if "timeout" in self._url.query else {"timeout": BUSY_SECONDS}
        arguments = {"factory": self._open, **timeout}
        engine = create_async_engine(self._url, connect_args=arguments, **options)
        event.listen(engine.sync_engine, "connect", self._set_up)
        event.listen(engine.sync_engine, "checkout", self._check)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def driver_calls(self, *, takes_time: bool = False) -> DriverCalls:
        return _Calls()

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

    def _set_up(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["file in use"] = self._identity()
        self._was_there = True
        connection.isolation_level = None  # or sqlite3 would begin transactions of its own
        cursor = connection.cursor()
        while not _switched_to_wal(cursor):
            cursor.execute("BEGIN IMMEDIATE")  # waits for the other, as long as `timeout` says
            cursor.execute("ROLLBACK")
        for pragma in (
            "synchronous = FULL",
            "foreign_keys = ON",
            f"journal_size_limit = {MAX_LOG_BYTES}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def _check(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        """Have all connections opened anew if the file is not the one they have open."""
        if self._identity() != record.info["file in use"]:
            logger.warning("%s is not the file any more that was opened", self._path)
            raise InvalidatePoolError

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # waits for nothing: the file is open
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


class _Calls(DriverCalls):
    def meaning(self, error: DBAPIError) -> AllocationError | None:
        code, reason = getattr(error.orig, "sqlite_errorname", None), reason_of(error.orig)
        undecodable = "Could not decode to UTF-8" in reason  # sqlite3 gives it no code
        return StatementRefused(reason) if code in NEVER_HEAL or undecodable else None


def _switched_to_wal(cursor: Any) -> bool:
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
