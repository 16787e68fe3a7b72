"""The attempts that failed, kept beside their delivery: of each, the last ten."""

from typing import Any

import sqlalchemy as sa

from aftercommit.envelopes import EventId
from aftercommit.sql.tables import failures
from aftercommit.sql.transaction import Transaction

MAX_FAILURES = 10
MAX_ERROR_LENGTH = 2000  # characters of an error that are kept
LEASE_EXPIRED = "it had not finished when its lease ended"


async def record_expired_lease(
    transaction: Transaction, now: sa.ColumnElement[float], row: sa.RowMapping
) -> None:
    """Record that the owner before this claim had not finished: it died, hung, or was cut off."""
    claim = row["event_id"], row["handler"], row["token"] - 1
    attempt = row["attempts"] - (row["parked_at"] is None)  # what is parked has begun no other
    lost = {"attempt": attempt, "owner": row["previous_owner"]}
    await record(transaction, now, claim, error=LEASE_EXPIRED, **lost)


async def record(
    transaction: Transaction,
    now: sa.ColumnElement[float],
    claim: tuple[EventId, str, int],
    **failure: Any,
) -> None:
    """Record, in the caller's transaction, that the attempt of this claim failed."""
    key = dict(zip(("event_id", "handler", "token"), claim, strict=True))
    await transaction.execute(sa.insert(failures).values(failed_at=now, **key, **failure))
    of_this = sa.and_(*(failures.c[name] == key[name] for name in ("event_id", "handler")))
    tokens = sa.select(failures.c.token).where(of_this).order_by(failures.c.token.desc())
    eleventh = tokens.limit(1).offset(MAX_FAILURES).scalar_subquery()
    await transaction.execute_dml(sa.delete(failures).where(of_this, failures.c.token <= eleventh))


def describe(error: Exception) -> str:
    """Return what can be stored of an error: its text may hold what no database takes."""
    words = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    text = "; ".join(words)[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
