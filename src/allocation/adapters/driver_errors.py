"""What the errors of the database drivers mean: which of ours, and so whether time heals them."""

from collections.abc import Callable

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, ProgrammingError

from allocation.adapters.exceptions import ConnectionLost, DatabaseUnavailable, StatementRefused
from allocation.domain.exceptions import AllocationError

MISTAKES = (DataError, InterfaceError, ProgrammingError)  # PEP 249: the program's, not the server's

Meaning = Callable[[DBAPIError], AllocationError | None]


def as_ours(error: Exception, meaning: Meaning) -> AllocationError:
    """Return the error of ours for one of the driver's, or of SQLAlchemy about it.

    `meaning` is what the kind of database says about it.
    """
    reason = reason_of(getattr(error, "orig", None) or error)
    if not isinstance(error, DBAPIError):  # the driver could not even send it
        return StatementRefused(reason)
    if meant := meaning(error):
        return meant
    if error.connection_invalidated:
        return ConnectionLost(reason)
    return StatementRefused(reason) if isinstance(error, MISTAKES) else DatabaseUnavailable(reason)


def reason_of(error: BaseException | None) -> str:
    """Return the driver's words in one line."""
    return " ".join(str(error).split()) or type(error).__name__
