"""How the database driver is called: shielded, and with errors of our own.

A call that is cancelled half-way costs its connection, and may have committed all the same. So
every call is waited for; cancellation is seen between calls. If a call can take for ever, it is the
kind of database that has to end it: the driver then reports a lost connection, as if the server had
closed it, and all that use it tidy up as they always do.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import ParamSpec, TypeVar

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from allocation.adapters.driver_errors import Meaning, as_ours, reason_of
from allocation.adapters.exceptions import ConnectionLost, DatabaseUnavailable, StatementRefused
from allocation.domain.exceptions import Unavailable
from allocation.service_layer.exceptions import ConcurrentUpdate

P = ParamSpec("P")
T = TypeVar("T")

DRIVER_STOP_SECONDS = 0.05


class Line:
    """The connection that somebody uses, and until when its call under way may take."""

    def __init__(self, meaning: Meaning, limit: float = inf) -> None:
        self.meaning = meaning
        self.limit = limit
        self.connection: DBAPIConnection | None = None
        self.scope: CancelScope | None = None
        self.hung_up_after: float | None = None
        self.begin(limit)

    def begin(self, limit: float) -> None:
        """Let what is done now take so many seconds."""
        self._began, self._limit = monotonic(), limit

    def is_overdue(self, patience: float) -> bool:
        """Tell whether it takes longer than it may, or than somebody has patience."""
        return monotonic() - self._began > min(self._limit, patience)


_in_use: ContextVar[Line | None] = ContextVar("line in use", default=None)


def connection_in_use(connection: DBAPIConnection, limit: float | None = None) -> None:
    """Note which connection the present call uses, and how long its next step may take."""
    if line := _in_use.get():
        line.connection, line.hung_up_after = connection, None
        line.begin(line.limit if limit is None else limit)


async def driver_call(
    line: Line, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call the driver and wait for its answer, whatever is cancelled.

    :raises ConcurrentUpdate: if a row has changed since it was read, or a race was lost
    :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
    :raises StatementRefused: if the statement or its data can never be accepted
    :raises ConnectionLost: if the connection broke, or was silent for too long
    :raises DatabaseUnavailable: if the database refuses for any other reason
    """
    await checkpoint_if_cancelled()
    token = _in_use.set(line)
    line.begin(line.limit)
    try:
        with CancelScope(shield=True) as line.scope:
            return await function(*args, **kwargs)
    except StaleDataError as error:
        raise ConcurrentUpdate from error
    except IntegrityError:
        raise
    except PoolTimeout as error:
        raise DatabaseUnavailable(str(error)) from error
    except (StatementError, UnicodeError, OverflowError) as error:
        if line.hung_up_after is not None:
            raise ConnectionLost(f"no answer within {line.hung_up_after:g} s") from error
        raise as_ours(error, line.meaning) from error
    finally:
        line.begin(inf)
        _in_use.reset(token)
    raise DatabaseUnavailable("there was no time to wait for a connection")


async def driver_connect(line: Line, connect: Callable[[], Awaitable[object]]) -> None:
    """Connect, or take a connection that was idle.

    :raises DatabaseUnavailable: if that does not work, whatever drivers raise for it
    """
    try:
        await driver_call(line, connect)
    except Exception as error:
        # aiosqlite's thread still tells the event loop that it stops: let it be there for that
        with CancelScope(shield=True):
            await anyio.sleep(DRIVER_STOP_SECONDS)
        if isinstance(error, Unavailable | ConcurrentUpdate):
            raise
        raise DatabaseUnavailable(_why_not_connected(error)) from error


def _why_not_connected(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not answer in time; is this the right host and port?"
    return (
        reason_of(error.__cause__ or error)
        if isinstance(error, StatementRefused)
        else reason_of(error)
    )
