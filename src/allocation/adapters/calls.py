"""How a database driver is called: shielded, and with errors of our own.

A call that is cancelled half-way costs its connection, and may have committed all the same. So
every call is waited for; cancellation is seen between calls.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import exc
from sqlalchemy.orm.exc import StaleDataError

from allocation.adapters.exceptions import ConnectionLost, DatabaseUnavailable, StatementRefused
from allocation.domain.exceptions import AllocationError, Unavailable
from allocation.service_layer.exceptions import ConcurrentUpdate

P = ParamSpec("P")
T = TypeVar("T")

DRIVER_STOP_SECONDS = 0.05
MISTAKES = (exc.DataError, exc.InterfaceError, exc.ProgrammingError)  # PEP 249: the program's


class DriverCalls:
    """Calls the driver on behalf of one transaction. A kind of database may know more of both."""

    failure: Exception | None = None  # the last one

    def guard(self) -> AbstractContextManager[object]:
        """Let the call in this context come to its end, which may be hastened."""
        return CancelScope(shield=True)

    def meaning(self, error: exc.DBAPIError) -> AllocationError | None:
        """Return the error of ours for one of the driver's, if this kind of database knows it."""

    async def call(
        self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the driver and wait for its answer, whatever is cancelled.

        :raises ConcurrentUpdate: if a row has changed since it was read, or a race was lost
        :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
        :raises StatementRefused: if the statement or its data can never be accepted
        :raises ConnectionLost: if the connection broke, or was silent for too long
        :raises DatabaseUnavailable: if the database refuses for any other reason
        """
        await checkpoint_if_cancelled()
        try:
            with self.guard():
                result = await function(*args, **kwargs)
        except Exception as error:
            self.failure = ours = self._as_ours(error)
            if ours is error:
                raise
            raise ours from error
        return result

    async def connect(self, connect: Callable[[], Awaitable[T]]) -> T:
        """Connect, or take a connection that was idle.

        :raises Unavailable: if that does not work, whatever drivers raise for it
        """
        try:
            return await self.call(connect)
        except Exception as error:
            # aiosqlite's thread still tells the event loop that it stops: let it be there for that
            with CancelScope(shield=True):
                await anyio.sleep(DRIVER_STOP_SECONDS)
            if isinstance(error, Unavailable | ConcurrentUpdate):
                raise
            refused = isinstance(error, StatementRefused)
            raise DatabaseUnavailable(reason_of(error.__cause__ if refused else error)) from error

    def _as_ours(self, error: Exception) -> Exception:
        reason = reason_of(getattr(error, "orig", None) or error)
        match error:
            case StaleDataError():
                return ConcurrentUpdate()
            case exc.IntegrityError():
                return error
            case exc.DBAPIError():
                return self.meaning(error) or _usual_meaning(error, reason)
            case exc.StatementError() | UnicodeError() | OverflowError():  # it could not be sent
                return StatementRefused(reason)
        return error


def _usual_meaning(error: exc.DBAPIError, reason: str) -> AllocationError:
    if error.connection_invalidated:
        return ConnectionLost(reason)
    return StatementRefused(reason) if isinstance(error, MISTAKES) else DatabaseUnavailable(reason)


def reason_of(error: BaseException | None) -> str:
    """Return the driver's words in one line."""
    return " ".join(str(error).split()) or type(error).__name__
