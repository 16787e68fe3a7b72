"""What the errors of the database drivers mean: which of ours, and so whether time heals them."""

import sqlite3

from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, ProgrammingError

from allocation.domain.exceptions import (
    AllocationError,
    ConcurrentUpdate,
    ConnectionLost,
    DatabaseUnavailable,
    RightMissing,
    StatementRefused,
)

LOST_RACES = {"40001", "40P01"}  # SQLSTATE: serialization_failure, deadlock_detected
RIGHT_MISSING = "42501"
LOCKED_TOO_LONG = "55P03"
TOOK_TOO_LONG = "57014"
NEVER_HEAL = {"22", "42", "54"}  # classes: data exception, syntax error, program limit exceeded
SQLITE_NEVER_HEAL = {
    sqlite3.SQLITE_ERROR,  # wrong SQL, no such table
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
MISTAKES = (DataError, InterfaceError, ProgrammingError)  # PEP 249: the program's, not the server's

HINTS = {
    LOCKED_TOO_LONG: "somebody else holds a lock on it; pg_blocking_pids() tells who",
    TOOK_TOO_LONG: "it waited for somebody else, or has too much to do",
}


def as_ours(error: Exception) -> AllocationError:
    """Return the error of ours for one of the driver's, or of SQLAlchemy about it."""
    cause = getattr(error, "orig", None) or error
    reason, state = reason_of(cause), str(getattr(cause, "sqlstate", None) or "")
    if state in LOST_RACES:
        return ConcurrentUpdate()
    if getattr(error, "connection_invalidated", False):
        return ConnectionLost(reason)
    if state == RIGHT_MISSING:
        return RightMissing(reason)
    if _never_heals(error, cause, state):
        return StatementRefused(reason)
    return DatabaseUnavailable(f"{reason} ({HINTS[state]})" if state in HINTS else reason)


def reason_of(error: BaseException) -> str:
    """Return the driver's words in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _never_heals(error: Exception, cause: Exception, state: str) -> bool:
    if not isinstance(error, DBAPIError):  # the driver could not even send it
        return True
    if state:
        return state[:2] in NEVER_HEAL
    code = getattr(cause, "sqlite_errorcode", None)
    return isinstance(error, MISTAKES) or code in SQLITE_NEVER_HEAL or _is_undecodable(cause)


def _is_undecodable(cause: Exception) -> bool:
    return "Could not decode to UTF-8" in str(cause)  # sqlite3 gives it no code
