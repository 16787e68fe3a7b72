"""Wakes workers when another process commits deliveries: PostgreSQL's LISTEN."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio import CancelScope, to_thread
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from allocation.adapters.calls import driver_call

CHANNEL = "allocation_deliveries"


@asynccontextmanager
async def listening(engine: AsyncEngine, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Call `wake` at each NOTIFY, over a connection of its own, which is closed at the end.

    :raises Unavailable: if the database cannot be reached
    """
    connection = engine.connect()
    await driver_call(connection.start)
    try:
        async with _LISTENERS[engine.dialect.driver](connection, wake):
            yield
    finally:
        with CancelScope(shield=True):
            await connection.invalidate()
            await connection.close()


@asynccontextmanager
async def _asyncpg(connection: AsyncConnection, wake: Callable[[], None]) -> AsyncIterator[None]:
    driver = await _driver(connection)
    await driver_call(driver.add_listener, CHANNEL, lambda *_: wake())
    yield


@asynccontextmanager
async def _psycopg(connection: AsyncConnection, wake: Callable[[], None]) -> AsyncIterator[None]:
    driver = await _driver(connection)
    await driver_call(connection.exec_driver_sql, f"LISTEN {CHANNEL}")
    await driver_call(connection.commit)
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, driver, wake)
        yield
        group.cancel_scope.cancel()


_LISTENERS = {"asyncpg": _asyncpg, "anyio": _psycopg}


async def _watch(driver: Any, wake: Callable[[], None]) -> None:
    """Wait without a thread, and read with one; when the connection is lost, polling has to do."""
    while not driver.closed:
        await anyio.wait_readable(driver.fileno())
        await to_thread.run_sync(_read, driver)
        wake()


def _read(driver: Any) -> None:
    """Take what the server has sent; that may be that the connection is lost."""
    from psycopg import OperationalError

    with suppress(OperationalError):
        list(driver.notifies(timeout=0))


async def _driver(connection: AsyncConnection) -> Any:
    return (await driver_call(connection.get_raw_connection)).driver_connection
