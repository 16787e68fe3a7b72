"""Wakes workers when other processes commit deliveries: PostgreSQL's NOTIFY and LISTEN.

A notification is only a hint, because workers also poll. So failures here are only logged.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio import CancelScope, move_on_after
from anyio.abc import TaskGroup
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aftercommit.database.backend import DatabaseBackend, error_text
from aftercommit.extensions.postgresql.connections import drop, session_prefix

PAUSE_SECONDS = 0.05  # between two NOTIFY
RECONNECT_SECONDS = 1.0

# the server does not see a process of ours as idle if it froze during a statement: it would wait
# for the rest without end, and with it all who need what that process has locked
TERMINATE_STALLED = text(
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE usename = current_user AND datname = current_database() AND pid <> pg_backend_pid()"
    " AND state = 'active' AND wait_event = 'ClientRead' AND query NOT ILIKE 'copy%'"
    " AND starts_with(application_name, :prefix)"
    " AND query_start < now() - :seconds * interval '1 second'"
)

# fails on a server that refuses writes: after a failover, nobody notifies it
EXPECT_WRITES = text("UPDATE aftercommit_deliveries SET token = token WHERE false")

Wake = Callable[[], None]
UntilLost = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


def channel_of(application: str) -> str:
    """Return the channel on which the processes of an application wake each other."""
    return f"{application}_deliveries"


@asynccontextmanager
async def background_task(
    task: Callable[[], Coroutine[Any, Any, None]],
) -> AsyncIterator[TaskGroup]:
    """Run a task as long as the body lasts; its errors are raised as they are, not in a group.

    It may start other tasks.
    """
    error: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(task)
        try:
            yield group
        except Exception as raised:
            error = raised
        group.cancel_scope.cancel()
    if error is not None:
        raise error


class Notifier:
    """Sends one NOTIFY for everything that this process commits within a short time.

    To commit a NOTIFY, the server takes a lock over all databases, so with one in each transaction,
    all commits would wait in line.
    """

    def __init__(self, execute: Callable[[], Awaitable[object]]) -> None:
        """Notify through `execute`, which executes a NOTIFY and commits it."""
        self._execute = execute
        self._due = anyio.Event()

    def notify(self) -> None:
        """Request a NOTIFY, which is sent soon."""
        self._due.set()

    async def run(self) -> None:
        """Send requested notifications until cancelled."""
        while True:
            await self._due.wait()
            await self.send()
            await anyio.sleep(PAUSE_SECONDS)

    async def send(self) -> None:
        """Send it now, if requested, even if the task is cancelled."""
        if not self._due.is_set():
            return
        self._due = anyio.Event()
        with CancelScope(shield=True):
            try:
                await self._execute()
            except Exception as error:
                logger.warning("workers were not notified: %s", error)


async def listen(
    backend: DatabaseBackend,
    engine: AsyncEngine,
    application: str,
    wake: Wake,
    check_every: float,
) -> None:
    """Call `wake` at each NOTIFY; if the connection is lost, listen over another one.

    It also calls `wake` when it has begun to listen, and when a NOTIFY may have been missed.
    """
    prefix, channel = session_prefix(application), channel_of(application)
    stalled = TERMINATE_STALLED.bindparams(prefix=prefix, seconds=check_every)
    while True:
        try:
            async with _listening(backend, engine, channel, wake) as (connection, until_lost):
                while True:
                    wake()
                    with move_on_after(check_every):
                        await until_lost()
                    # a vanished server is silent, too: this finds out
                    for pid, _ in await backend.call(connection.execute, stalled):
                        logger.warning("ended session %d, which was frozen during a statement", pid)
                    await backend.call(connection.execute, EXPECT_WRITES)
        except Exception as error:
            logger.warning("%s; listening again", error_text(error))
            await anyio.sleep(RECONNECT_SECONDS)


@asynccontextmanager
async def _listening(
    backend: DatabaseBackend, engine: AsyncEngine, channel: str, wake: Wake
) -> AsyncIterator[tuple[AsyncConnection, UntilLost]]:
    connection = engine.connect()
    await backend.connect(connection.start)
    try:
        yield connection, await backend.connect(partial(_subscribe, connection, channel, wake))
    finally:
        await drop(connection)


async def _subscribe(connection: AsyncConnection, channel: str, wake: Wake) -> UntilLost:
    await connection.execution_options(isolation_level="AUTOCOMMIT")  # not in a transaction
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if connection.dialect.driver == "asyncpg":
        lost = anyio.Event()
        driver.add_termination_listener(lambda _: lost.set())
        await driver.add_listener(channel, lambda *_: wake())
        return lost.wait
    await connection.exec_driver_sql(f"LISTEN {channel}")
    return partial(_read, driver.pgconn, wake)


async def _read(pgconn: Any, wake: Wake) -> None:
    while True:
        await anyio.wait_readable(pgconn.socket)
        pgconn.consume_input()
        while pgconn.notifies():
            wake()
