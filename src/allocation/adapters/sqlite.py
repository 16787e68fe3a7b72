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

from allocation.domain.exceptions import DatabaseUnavailable, InvalidValue

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


def check(url: URL) -> None:
    """Refuse what is no file.

    :raises InvalidValue: if it is not
    """
    if url.host or url.username or url.password:
        raise InvalidValue("database URL", "is not of the form sqlite:///FILE")
    if not url.database or ":memory:" in url.database or "memory" in url.query.values():
        raise InvalidValue("database URL", "names no file; an in-memory database is not supported")
    if unknown := sorted(url.query.keys() - QUERY):
        problem = "after the ?; a file's name has none in it" if url.query else ""
        raise InvalidValue("database URL", f"has {', '.join(unknown)} {problem}")
    if not re.fullmatch(r"\d+(\.\d+)?", str(url.query.get("timeout", "0"))):
        raise InvalidValue("database URL", "has a timeout that is no number of seconds")


def connect_args(url: URL) -> dict[str, Any]:
    """Return what the driver is given beside the URL."""
    timeout = {} if "timeout" in url.query else {"timeout": BUSY_SECONDS}
    return {"factory": _open_privately, **timeout}


def listen(engine: Engine) -> None:
    """Have every connection set up, every transaction begun, and the file watched."""
    database, is_uri = str(engine.url.database), "uri" in engine.url.query
    watched = DatabaseFile(_path_of(database) if is_uri else os.path.abspath(database))
    event.listen(engine, "connect", watched.remember)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "checkout", watched.check)
    event.listen(engine, "begin", _begin)


class DatabaseFile:
    """The file, which somebody may delete or exchange while it is in use.

    What is written to it then would be gone with the last connection, and nobody would know.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def remember(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Note which file a new connection has opened."""
        record.info[FILE_IN_USE] = self._identity()

    def check(self, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        """Have all connections opened anew if the file was exchanged.

        :raises DatabaseUnavailable: if it was deleted
        """
        found = self._identity()
        if found == record.info[FILE_IN_USE]:
            return
        if found is None:
            raise DatabaseUnavailable(f"{self._path} was deleted while it was in use")
        logger.warning("%s was exchanged while it was in use; opening the new one", self._path)
        raise InvalidatePoolError

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # waits for nothing: the file is open
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _open_privately(database: str, *args: Any, **kwargs: Any) -> sqlite3.Connection:
    """Connect, in the driver's thread. A file that has to be made can be read by nobody else."""
    if not kwargs.get("uri") or "mode=r" not in database or "mode=rwc" in database:
        with suppress(OSError):  # it is there already, or SQLite says what is wrong
            Path(_path_of(database) if kwargs.get("uri") else database).touch(0o600, exist_ok=False)
    return sqlite3.Connection(database, *args, **kwargs)


def _path_of(uri: str) -> str:
    return os.path.abspath(unquote(urlsplit(uri).path))


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
