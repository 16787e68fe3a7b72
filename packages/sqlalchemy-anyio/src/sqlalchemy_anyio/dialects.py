"""The dialects: what sqlite3 and psycopg have in common, and what each needs of its own."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR, socket
from typing import Any

from sqlalchemy import URL, Engine, Pool
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from sqlalchemy_anyio.asyncio_shim import install_shim
from sqlalchemy_anyio.connection import TERMINATED, ThreadedConnection
from sqlalchemy_anyio.pool import AnyIOQueuePool, AnyIOStaticPool

BEGINS = {"BEGIN", "BEGIN DEFERRED", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"}


class _Threaded:
    """Turns a dialect of a synchronous driver into one for both event loops."""

    driver = "anyio"
    is_async = True
    has_terminate = True
    supports_server_side_cursors = True

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Prepare SQLAlchemy itself, too, which only users of such a dialect need."""
        install_shim()

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AnyIOQueuePool

    def connect(
        self,
        *args: Any,
        command_timeout: float | None = None,
        abandonable: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Connect in a thread. A driver call may take `command_timeout` seconds.

        If calls are abandonable, cancelling one terminates the connection, and waits for nothing.
        """
        connect: Callable[..., Any] = partial(super().connect, *args, **kwargs)  # type: ignore[misc]
        seconds = None if command_timeout is None else float(command_timeout)  # a URL has text
        return ThreadedConnection(
            self,  # type: ignore[arg-type]
            connect,
            seconds=seconds,
            abandonable=abandonable,
        )

    def get_driver_connection(self, connection: Any) -> Any:
        return connection.driver_connection

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Ping with the driver's connection, in one call."""
        do_ping = super().do_ping  # type: ignore[misc]
        return bool(dbapi_connection.run_in_thread(do_ping, dbapi_connection.driver_connection))

    def do_terminate(self, dbapi_connection: Any) -> None:
        dbapi_connection.terminate()

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        return TERMINATED in str(e) or super().is_disconnect(e, connection, cursor)  # type: ignore[misc]

    def is_begin(self, statement: str) -> bool:
        return False  # psycopg itself begins transactions


class _StreamingContext(SQLiteExecutionContext):
    def create_server_side_cursor(self) -> Any:
        return self._dbapi_connection.cursor(sqlite3.Cursor)  # the argument makes it stream


class SQLiteDialectAnyIO(_Threaded, SQLiteDialect_pysqlite):
    """`sqlite+anyio`: the standard library's sqlite3."""

    supports_statement_cache = True
    execution_ctx_cls = _StreamingContext

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        return AnyIOQueuePool if cls._is_url_file_db(url) else AnyIOStaticPool

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        return super().connect(*args, **{**kwargs, "check_same_thread": False})

    def is_begin(self, statement: str) -> bool:
        return statement in BEGINS

    def has_transaction(self, driver_connection: Any) -> bool:
        return bool(driver_connection.in_transaction)

    def interrupt(self, driver_connection: Any) -> None:
        closed_meanwhile = suppress(sqlite3.Error)
        with closed_meanwhile:
            driver_connection.interrupt()


class PGDialectAnyIO(_Threaded, PGDialect_psycopg):
    """`postgresql+anyio`: psycopg 3."""

    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[PGDialect_psycopg]:
        return cls

    def has_transaction(self, driver_connection: Any) -> bool:
        return bool(driver_connection.info.transaction_status)  # 0 is IDLE

    def interrupt(self, driver_connection: Any) -> None:
        """Shut the socket down; a frozen server would not react to anything else."""
        closed_meanwhile = suppress(OSError, self.loaded_dbapi.Error)
        with closed_meanwhile, socket(fileno=os.dup(driver_connection.fileno())) as wire:
            wire.shutdown(SHUT_RDWR)

    def _type_info_fetch(self, connection: Any, name: str) -> Any:
        fetch = super()._type_info_fetch
        return connection.connection.dbapi_connection.run_in_thread(fetch, connection, name)
