"""Times as people and JSON have them, of the seconds since 1970 that are stored."""

from datetime import UTC, datetime


def moment(seconds: float) -> datetime:
    """Return the time that is so many seconds after 1970 began, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_if_any(seconds: float | None) -> datetime | None:
    """Do the same for what may not have happened."""
    return None if seconds is None else moment(seconds)
