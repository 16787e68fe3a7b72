"""How claims ended whose handler has not succeeded, kept beside their delivery.

Of each outcome, a delivery keeps the last ten. That a claim has succeeded says the delivery itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from aftercommit.sql.tables import failures
from aftercommit.sql.transaction import Transaction

Outcome = Literal["failed", "released", "interrupted", "lease_expired", "superseded"]
"""How a claim ended. A handler that was interrupted may have had its effect.

A claim was superseded if a person took the delivery away from the process that ran it.
"""

MAX_FAILURES = 10
MAX_ERROR_LENGTH = 2000  # characters of an error that are kept
LEASE_EXPIRED = "it had not finished when its lease ended"
REASONS: Mapping[Outcome, str] = {
    "released": "its process gave it back before it had an effect",
    "interrupted": "its process was stopped while it ran: its effect may have happened",
    "lease_expired": LEASE_EXPIRED,
    "superseded": "a person decided while it ran: its effect may have happened",
}

KEY = ("event_id", "handler", "token")  # of a claim

_NEWER = failures.alias()
_NUMBER_NEWER = sa.select(sa.func.count()).where(
    *(_NEWER.c[name] == failures.c[name] for name in ("event_id", "handler", "outcome")),
    _NEWER.c.token > failures.c.token,
)
_DELIVERIES: sa.BindParameter[Any] = sa.bindparam("deliveries", expanding=True)
_FORGET = sa.delete(failures).where(
    sa.tuple_(failures.c.event_id, failures.c.handler).in_(_DELIVERIES),
    _NUMBER_NEWER.scalar_subquery() >= MAX_FAILURES,
)


def expired(row: sa.RowMapping) -> dict[str, Any]:
    """Return the claim before this one: its process died, hung, or was cut off."""
    attempt = row["attempts"] - (row["parked_at"] is None)  # what is parked has begun no other
    claim = {name: row[name] for name in KEY} | {"token": row["token"] - 1}
    return claim | {"attempt": attempt, "owner": row["previous_owner"], "error": LEASE_EXPIRED}


async def record(
    transaction: Transaction,
    now: sa.ColumnElement[float],
    outcome: Outcome,
    ended: Sequence[Mapping[str, Any]],
) -> None:
    """Record, in the caller's transaction, how these claims have ended."""
    if not ended:
        return
    row = sa.insert(failures).values(failed_at=now, outcome=outcome)
    await transaction.execute(row, ended)
    # each has a token of its own, so a delivery without an eleventh claim has no eleventh row
    many = [(each["event_id"], each["handler"]) for each in ended if each["token"] > MAX_FAILURES]
    if many:
        await transaction.execute_dml(_FORGET, {"deliveries": many})


def describe(error: Exception) -> str:
    """Return what can be stored of an error: its text may hold what no database takes."""
    words = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
    text = "; ".join(words)[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
