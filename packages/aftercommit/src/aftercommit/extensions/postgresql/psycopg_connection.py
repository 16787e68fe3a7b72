"""A connection of psycopg on asyncio that any task can hang up on at any time, as on asyncpg's."""

import os
from socket import SHUT_RDWR, socket
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.waiting import wait_async

T = TypeVar("T")

CHECK_SECONDS = 0.1  # how often psycopg looks whether it was interrupted


class PsycopgConnection(AsyncConnection[Any]):
    """What ends a call also ends the connection, and waits for nothing."""

    _is_waiting = False
    _is_given_up = False

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = CHECK_SECONDS,
        timeout: float | None = None,  # noqa: ASYNC109 - it is of psycopg
    ) -> T:
        """Wait for an answer. If that is cancelled, hang up.

        psycopg would ask the server to cancel the statement, over another connection, and wait for
        the end of both: a server that is frozen ends neither.
        """
        limit = {} if timeout is None else {"timeout": timeout}  # of newer versions only
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

        It waits for its socket, which stays open until the task has noticed: no event comes from a
        socket that is closed.
        """
        self._is_given_up = True
        if not self._is_waiting:
            self.pgconn.finish()
        elif not self.closed:
            with socket(fileno=os.dup(self.fileno())) as wire:
                wire.shutdown(SHUT_RDWR)

    async def close(self) -> None:
        """Do the same, in the place of what would close the socket of a task that waits."""
        self.terminate()


def adopt(connection: Any, _: object) -> None:
    """Make a new connection of psycopg one of these, also if the engine of others has made it."""
    driver = connection.driver_connection
    if type(driver) is AsyncConnection:
        driver.__class__ = PsycopgConnection
