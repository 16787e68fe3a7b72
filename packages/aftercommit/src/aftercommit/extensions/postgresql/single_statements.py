"""Connections of asyncpg for statements that are transactions by themselves: no BEGIN, no COMMIT.

A session's time limits apply to them, too, and so does the limit for a driver call.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from anyio import Semaphore, current_time
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aftercommit.database.backend import DatabaseBackend, error_text
from aftercommit.database.exceptions import ConnectionLost
from aftercommit.extensions.postgresql.connections import drop

CONNECTIONS = 2  # one for claims, while another completes
KEPT_SECONDS = 1.0  # without use; after that, the pool has to test it like every idle one

Records = Sequence[Mapping[str, Any]]


class SingleStatements:
    """Executes single statements, two at a time, on connections that it keeps while busy."""

    def __init__(
        self, backend: DatabaseBackend, engine: AsyncEngine, is_stale: Callable[[float], bool]
    ) -> None:
        self._backend, self._engine, self._is_stale = backend, engine, is_stale
        self._slots = Semaphore(CONNECTIONS, fast_acquire=True)
        self._kept: list[tuple[float, AsyncConnection, Any]] = []  # with the driver's connection

    async def fetch(self, sql: str, values: Sequence[object] = ()) -> Records:
        """Execute a statement, and return its rows; a connection on which it fails is dropped.

        The statement may be executed twice, if a kept connection was lost.

        :raises ConnectionLost: if the connection broke, or was silent for too long
        """
        async with self._slots:
            while True:
                connection, driver, is_kept = await self._take()
                try:
                    rows: Records = await self._backend.call(driver.fetch, sql, *values)
                except BaseException as error:
                    is_lost = driver.is_closed()
                    await drop(connection)
                    if is_kept and is_lost and isinstance(error, Exception):
                        continue
                    if is_lost and isinstance(error, Exception):
                        raise ConnectionLost(error_text(error.__cause__ or error)) from error
                    raise
                self._kept.append((current_time(), connection, driver))
                return rows

    async def aclose(self) -> None:
        """Hang up on the kept connections."""
        while self._kept:
            await drop(self._kept.pop()[1])

    async def _take(self) -> tuple[AsyncConnection, Any, bool]:
        """Return a connection, the driver's, and whether it was kept."""
        while self._kept:
            used_at, connection, driver = self._kept.pop()
            if driver.is_closed() or self._is_stale(used_at):
                await drop(connection)
            elif current_time() - used_at < KEPT_SECONDS:
                return connection, driver, True
            else:
                await connection.close()  # it goes back to the pool
        connection = self._engine.connect()
        try:
            driver = await self._backend.connect(partial(_start, connection))
        except BaseException:
            await drop(connection)
            raise
        return connection, driver, False


async def _start(connection: AsyncConnection) -> Any:
    """Begin to use a connection; what is sent meanwhile, even a ROLLBACK, may get no answer."""
    await connection.start()
    await connection.execution_options(isolation_level="AUTOCOMMIT")
    return (await connection.get_raw_connection()).driver_connection
