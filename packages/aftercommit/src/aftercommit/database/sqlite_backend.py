"""SQLite's connections: how they are made durable, private, and patient with other writers."""

import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import anyio
from anyio import CancelScope
from sqlalchemy import URL, Connection, Table, UniqueConstraint, event, literal_column
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.database.backend import (
    NOT_GIVEN,
    DatabaseBackend,
    GivenEngine,
    error_text,
    importing,
)
from aftercommit.database.database_url import wrong_url
from aftercommit.database.exceptions import (
    DatabaseLocked,
    DatabaseUnavailable,
    StatementFailed,
    StatementRefused,
)

BUSY_SECONDS = "10"  # for other processes; `?timeout=` in the URL overrides it
MAX_LOG_BYTES = 2**24  # while somebody reads, the log grows; then it shrinks to this
PRAGMAS = ("synchronous = FULL", "foreign_keys = ON", f"journal_size_limit = {MAX_LOG_BYTES}")
FOREIGN_KEYS = "foreign keys"  # of a connection: their value in its next transaction
OPTIONS = {"mode", "timeout", "uri"}
IN_MEMORY = "workers do not support a database in memory; a test can `deliver` without a worker"
UNSUITABLE = {"SQLITE_CONSTRAINT_CHECK", "SQLITE_CONSTRAINT_NOTNULL"}
PERMANENT = {"ERROR", "TOOBIG", "MISMATCH", "RANGE"}  # SQL, or data
NOT_WRITABLE = {"CANTOPEN", "READONLY", "PERM"}
OUTAGES = {
    *("BUSY", "LOCKED", "PROTOCOL"),  # another process, or connection
    *("IOERR", "FULL", "CORRUPT", "NOTADB"),  # the file, or disk
    *("NOMEM", "NOLFS"),  # the machine
}
"""Result codes, https://www.sqlite.org/rescode.html: these are not counted as an attempt."""
TRIGGER = "SQLITE_CONSTRAINT_TRIGGER"  # RAISE(ABORT, …), which is no violated constraint


class SQLite(DatabaseBackend):
    """A SQLite file, which must not be moved while a process uses it."""

    url_example = "sqlite:///FILE"
    asyncio_drivers: ClassVar = {"aiosqlite": "sqlite", "anyio": "trio"}
    url_options = OPTIONS
    ignored_arguments = frozenset({"check_same_thread", "isolation_level"})
    clock = "((julianday('now') - 2440587.5) * 86400.0)"
    single_writer = True
    # like a trigger for older programs, which costs more: see the migration
    position: ClassVar = {
        "position": literal_column(
            f"max(CAST({clock} * 1000000 AS INTEGER), 1 + coalesce(("
            "SELECT position FROM aftercommit_events ORDER BY rowid DESC LIMIT 1), 0))"
        )
    }

    def __init__(self, url: URL, *, handler_timeout: float) -> None:
        name = url.database or ":memory:"
        if url.host or url.username or url.password:
            raise wrong_url(f"is not of the form {self.url_example}")
        if ":memory:" in name or "memory" in url.query.values():
            raise wrong_url(f"names no file; {IN_MEMORY}")
        if "mode" in url.query and "uri" not in url.query:
            raise wrong_url("has a mode, which needs file:FILE and uri=true")
        if url.query.keys() - OPTIONS:
            known = ", ".join(sorted(OPTIONS))
            raise wrong_url(f"has an unknown option after the ?; known are {known}")
        self._url = url
        self._failed_to_open = False
        self._may_be_made = url.query.get("mode", "rwc") == "rwc"
        self._path = os.path.realpath(unquote(urlsplit(name).path) if "uri" in url.query else name)

    def new_engine(
        self, application: str, process: str, *, given: GivenEngine = NOT_GIVEN, **options: Any
    ) -> AsyncEngine:
        url = self._url.set(query={"timeout": BUSY_SECONDS, **self._url.query})
        with importing(url.get_driver_name(), self.asyncio_drivers):
            engine = given.create(url, connect_args={"factory": self._open}, **options)
        if given.connects:
            event.listen(engine.sync_engine, "connect", partial(_adopt, str(url.query["timeout"])))
        event.listen(engine.sync_engine, "connect", set_up)
        event.listen(engine.sync_engine, "begin", begin)
        return engine

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def violated(self, error: IntegrityError, tables: Iterable[Table]) -> str | None:
        """Return the constraint's name: SQLite names columns, or an index of expressions."""
        if getattr(error.orig, "sqlite_errorname", None) in UNSUITABLE:
            raise StatementRefused(error_text(error)) from error
        found = set(re.sub(r".*failed: |index |'", "", str(error.orig)).split(", "))
        for table in tables:
            uniques = [each for each in table.constraints if isinstance(each, UniqueConstraint)]
            columns = {each.name: each.columns for each in uniques}
            columns |= {index.name: index.columns for index in table.indexes if index.unique}
            for name, of_this in columns.items():
                if found in ({f"{table.name}.{column.name}" for column in of_this}, {name}):
                    return str(name)
        return None

    def translate(self, error: Exception) -> Exception:
        name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
        code = name.removeprefix("SQLITE_").partition("_")[0]  # a result code, if it was extended
        if code in PERMANENT:
            return StatementRefused(error_text(error))
        if name == "SQLITE_BUSY":
            return DatabaseLocked(error_text(error))
        if code in NOT_WRITABLE:
            need = "its folder has to exist, and this user to have write access to both"
            return DatabaseUnavailable(f"{error_text(error)}: {self._path}; {need}")
        counts = code and code not in OUTAGES and not isinstance(error, IntegrityError)
        if counts or name == TRIGGER:
            return StatementFailed(error_text(error))
        return super().translate(error)

    def begin_upgrade(self, connection: Connection) -> None:
        """Turn foreign keys off, which is possible only between transactions.

        A migration may rebuild a table, by `batch_alter_table`: it drops the old one, to which
        others may refer. Their rows are checked before the commit.
        """
        connection.connection.rollback()
        connection.info[FOREIGN_KEYS] = "OFF"
        begin(connection)
        connection.info[FOREIGN_KEYS] = "ON"  # from the next transaction on

    def ensure_references(self, connection: Connection) -> None:
        if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            child, row, parent, _ = broken
            problem = f"row {row} of {child} would refer to a missing row of {parent}"
            raise DatabaseUnavailable(f"nothing was upgraded: {problem}")

    @asynccontextmanager
    async def lifespan(self, engine: AsyncEngine) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if self._failed_to_open and engine.dialect.driver == "aiosqlite":
                with CancelScope(shield=True):
                    await anyio.sleep(0.05)  # its thread still calls the event loop, to report it

    def _open(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        """Connect, in the driver's thread. A new file is readable by its owner only."""
        if self._may_be_made:
            with suppress(OSError):  # it already exists, or SQLite says what is wrong
                Path(self._path).touch(0o600, exist_ok=False)
        try:
            connection = sqlite3.Connection(*args, **kwargs)
        except sqlite3.Error:
            self._failed_to_open = True
            raise
        connection.text_factory = _text
        return connection


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _adopt(timeout: str, connection: Any, _: object) -> None:
    """Set up a connection that the application has made, like our own."""
    connection.driver_connection.text_factory = _text
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {round(float(timeout) * 1000)}")
    cursor.close()


def set_up(connection: DBAPIConnection, _: object) -> None:
    """Set a new connection up."""
    connection.isolation_level = None  # otherwise, sqlite3 would begin transactions of its own
    cursor = connection.cursor()
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:  # another process writes to a new file
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
                raise
        cursor.execute("BEGIN IMMEDIATE")  # waits for the other, for the URL's `timeout`
        cursor.execute("ROLLBACK")
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin(connection: Connection) -> None:
    """Begin a transaction, as a writer unless its execution options say otherwise.

    A listener of the application may have begun one already.
    """
    driver: Any = connection.connection.driver_connection
    if driver.in_transaction or connection.dialect.driver == "anyio":  # which defers a bare BEGIN
        connection.connection.rollback()
    if foreign_keys := connection.info.pop(FOREIGN_KEYS, None):
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {foreign_keys}")
    # no bare BEGIN IMMEDIATE, which `sqlalchemy_anyio` would defer: a waiting one has not begun
    begin = connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE TRANSACTION")
    connection.exec_driver_sql(begin)
