"""How the database driver is called: shielded, and with errors of our own.

A call that is cancelled half-way costs its connection, and may have committed all the same. So
every call is waited for; cancellation is seen between calls.
"""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm.exc import StaleDataError

from allocation.domain.exceptions import ConcurrentUpdate, ConnectionLost, DatabaseUnavailable

P = ParamSpec("P")
T = TypeVar("T")

LOST_RACES = {"40001", "40P01"}  # SQLSTATE: serialization_failure, deadlock_detected


async def driver_call(
    function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call the driver and wait for its answer, whatever is cancelled.

    :raises ConcurrentUpdate: if a row has changed since it was read, or a race was lost
    :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
    :raises ConnectionLost: if the connection broke
    :raises DatabaseUnavailable: if the database refuses for any other reason
    """
    await checkpoint_if_cancelled()
    try:
        with CancelScope(shield=True):
            result = await function(*args, **kwargs)
        return result  # noqa: RET504 - inside, mypy fears that the scope swallows an error
    except StaleDataError as error:
        raise ConcurrentUpdate from error
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        cause = getattr(error, "orig", error)
        if getattr(cause, "sqlstate", None) in LOST_RACES:
            raise ConcurrentUpdate from error
        if getattr(error, "connection_invalidated", False):
            raise ConnectionLost(str(cause)) from error
        raise DatabaseUnavailable(str(cause)) from error
