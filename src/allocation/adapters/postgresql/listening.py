"""Wakes workers when another process commits deliveries: PostgreSQL's LISTEN."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio import CancelScope, move_on_after, to_thread
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from allocation.adapters.calls import DriverCalls
from allocation.adapters.exceptions import ConnectionLost
from allocation.adapters.postgresql.watchdog import Watchdog, beside

CHANNEL = "allocation_deliveries"
AGAIN_SECONDS = 1.0

# a process that is frozen within a statement is no idle one to the server, which would wait for the
# rest for ever, and so would all who need what it has locked
END_FROZEN = text(
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
    " AND state = 'active' AND wait_event = 'ClientRead' AND query NOT ILIKE 'copy%'"
    " AND query_start < now() - :seconds * interval '1 second'"
)
WAS_CLOSED = "the connection that listens was closed"

Wake = Callable[[], None]
NextNews = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


@asynccontextmanager
async def listening(engine: AsyncEngine, watchdog: Watchdog, wake: Wake) -> AsyncIterator[None]:
    """Call `wake` at each NOTIFY, over a connection of its own; if it is lost, over another one.

    :raises Unavailable: if the database cannot be reached at first
    """
    listener = _Listener(engine, watchdog.driver_calls(), wake, check_every=watchdog.limit)
    await listener.open()
    try:
        async with beside(listener.listen):
            yield
    finally:
        await listener.close()


class _Listener:
    def __init__(
        self, engine: AsyncEngine, driver: DriverCalls, wake: Wake, *, check_every: float
    ) -> None:
        self._engine = engine
        self._driver = driver
        self._wake = wake
        self._check_every = check_every
        self._connection: AsyncConnection | None = None

    async def open(self) -> None:
        await self._driver.connect(self._open)

    async def listen(self) -> None:
        """Listen, for ever. What was said while the connection was lost is heard as one wake."""
        while True:
            try:
                await self._until_lost()
            except Exception as error:  # it is only a hint: nothing may end those who work
                logger.warning("%s; listening again", error)
                await self.close()
                await anyio.sleep(AGAIN_SECONDS)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with CancelScope(shield=True):
                await connection.invalidate()
                await connection.close()

    async def _open(self) -> None:
        connection = self._engine.connect()
        await connection.start()
        self._connection = connection
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")  # not in a transaction
            driver = (await connection.get_raw_connection()).driver_connection
            subscribe = _SUBSCRIBE[self._engine.dialect.driver]
            self._next_news = await subscribe(connection, driver, self._wake)
        except BaseException:
            await self.close()
            raise

    async def _until_lost(self) -> None:
        if self._connection is None:
            await self.open()
            self._wake()
        end_frozen = END_FROZEN.bindparams(seconds=self._check_every)
        while self._connection:
            with move_on_after(self._check_every):
                while True:
                    await self._next_news()
            # a server that has vanished is quiet, too: this finds out
            for pid, _ in await self._driver.call(self._connection.execute, end_frozen):
                logger.warning("session %d was frozen within a statement: ended", pid)
            self._wake()


async def _asyncpg(connection: AsyncConnection, driver: Any, wake: Wake) -> NextNews:
    lost = anyio.Event()
    driver.add_termination_listener(lambda _: lost.set())
    await driver.add_listener(CHANNEL, lambda *_: wake())

    async def next_news() -> None:
        await lost.wait()
        raise ConnectionLost(WAS_CLOSED)

    return next_news


async def _psycopg(connection: AsyncConnection, driver: Any, wake: Wake) -> NextNews:
    await connection.exec_driver_sql(f"LISTEN {CHANNEL}")

    async def next_news() -> None:
        """Wait without a thread, and read with one."""
        if driver.closed:
            raise ConnectionLost(WAS_CLOSED)
        await anyio.wait_readable(driver.fileno())
        await to_thread.run_sync(_read, driver)
        wake()

    return next_news


_SUBSCRIBE = {"asyncpg": _asyncpg, "anyio": _psycopg}


def _read(driver: Any) -> None:
    """Take what the server has sent; that may be that the connection is lost."""
    from psycopg import OperationalError

    with suppress(OperationalError):
        list(driver.notifies(timeout=0))
