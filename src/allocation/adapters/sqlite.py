"""What SQLite needs of its connections: durable, private, never "database is locked"."""

import logging
import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from allocation.domain.exceptions import InvalidValue

QUERY = {"mode", "timeout", "uri"}
BUSY_SECONDS = 10  # for other processes; `?timeout=` in the URL says otherwise
PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    # while somebody reads, the log cannot begin anew, and grows; after that it shrinks to this
    "PRAGMA journal_size_limit = 16777216",
)
FILE_IN_USE = "file in use"

logger = logging.getLogger(__name__)


def check(url: URL, written: str) -> None:
    """Refuse what is no file.

    :param written: the URL as somebody wrote it: an option without a value is not in the other
    :raises InvalidValue: if it is not
    """
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


class DatabaseFile:
    """The file, which somebody may delete or exchange while it is in use.

    What is written to it then would be gone with the last connection, and nobody would know.
    """

    def __init__(self, url: URL) -> None:
        self._is_uri = "uri" in url.query
        self._may_be_made = url.query.get("mode", "rwc") == "rwc"
        self._has_timeout = "timeout" in url.query
        self._path = _path_of(str(url.database), is_uri=self._is_uri)
        self._was_there = False

    def connect_args(self) -> dict[str, Any]:
        """Return what the driver is given beside the URL."""
        timeout = {} if self._has_timeout else {"timeout": BUSY_SECONDS}
        return {"factory": self._open, **timeout}

    def listen(self, engine: Engine) -> None:
        """Have every connection set up, every transaction begun, and the file watched."""
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "checkout", self._check)
        event.listen(engine, "begin", _begin)

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
