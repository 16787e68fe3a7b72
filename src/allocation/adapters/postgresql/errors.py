"""What PostgreSQL's error codes mean: which of our errors, and so whether time heals them."""

from sqlalchemy.exc import DBAPIError

from allocation.adapters.calls import reason_of
from allocation.adapters.exceptions import DatabaseUnavailable, StatementRefused
from allocation.domain.exceptions import AllocationError, Unavailable
from allocation.service_layer.exceptions import ConcurrentUpdate

LOST_RACES = {"40001", "40P01"}  # SQLSTATE: serialization_failure, deadlock_detected
RIGHT_MISSING = "42501"
NEVER_HEAL = {"22", "42", "54"}  # classes: data exception, syntax error, program limit exceeded
HINTS = {
    "55P03": " (somebody else holds a lock on it: see docs/operations.md, 14)",
    "57014": " (it waited for somebody else, or has too much to do)",
}


class RightMissing(Unavailable):
    """The user of the database may not do what the program has to."""

    heals = False

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database refuses: {reason}; GRANT its user the right to do that")


def meaning(error: DBAPIError) -> AllocationError | None:
    """Return the error of ours, by the server's code; None if there is none to go by."""
    reason, state = reason_of(error.orig), str(getattr(error.orig, "sqlstate", None) or "")
    if state in LOST_RACES:
        return ConcurrentUpdate()
    if not state or error.connection_invalidated:
        return None
    if state == RIGHT_MISSING:
        return RightMissing(reason)
    if state[:2] in NEVER_HEAL:
        return StatementRefused(reason)
    return DatabaseUnavailable(reason + HINTS.get(state, ""))
