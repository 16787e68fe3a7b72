"""A psycopg connection on asyncio that any task can close at any time, as asyncpg's can be."""

import os
from socket import SHUT_RDWR, socket
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.waiting import wait_async

T = TypeVar("T")

CHECK_SECONDS = 0.1  # how often psycopg checks whether it was interrupted


class PsycopgConnection(AsyncConnection[Any]):
    """A connection that ends with any interrupted call, without waiting for anything."""

    _is_waiting = False
    _is_given_up = False

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = CHECK_SECONDS,
        timeout: float | None = None,  # noqa: ASYNC109 - it is of psycopg
    ) -> T:
        """Wait for an answer. If that is cancelled, hang up.

        psycopg would ask the server over another connection to cancel the statement, and wait for
        the end of both; a frozen server ends neither.
        """
        limit = {} if timeout is None else {"timeout": timeout}  # only in newer versions
        self._is_waiting = True
        try:
            return await wait_async(gen, self.pgconn.socket, interval, **limit)
        except Exception:
            raise
        except BaseException:
            self._is_given_up = True
            raise
        finally:
            self._is_waiting = False
            if self._is_given_up:
                self.pgconn.finish()

    def terminate(self) -> None:
        """Hang up. A task that waits for an answer gets an error instead.

        That task waits for the socket, which stays open until the task has noticed: a closed socket
        sends no events.
        """
        self._is_given_up = True
        if not self._is_waiting:
            self.pgconn.finish()
        elif not self.closed:
            with socket(fileno=os.dup(self.fileno())) as wire:
                wire.shutdown(SHUT_RDWR)

    async def close(self) -> None:
        """Do the same, instead of closing the socket of a task that waits."""
        self.terminate()


def adopt(connection: Any, _: object) -> None:
    """Turn a new psycopg connection into one of these, even if the application's engine made it."""
    driver = connection.driver_connection
    if type(driver) is AsyncConnection:
        driver.__class__ = PsycopgConnection
