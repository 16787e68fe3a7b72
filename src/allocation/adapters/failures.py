"""The attempts that failed, kept beside their delivery: of each, the last ten."""

from typing import Any

import sqlalchemy as sa

from allocation.adapters.database import Session
from allocation.adapters.orm import failures
from allocation.service_layer.delivery import Delivery

MAX_FAILURES = 10
MAX_ERROR_LENGTH = 2000  # characters of an error that are kept
LEASE_LOST = "it had not finished when its lease ended"


async def keep(
    session: Session, now: sa.ColumnElement[float], delivery: Delivery, error: str, process: str
) -> None:
    """Keep that this process has failed, in the caller's transaction."""
    key = {"event_id": delivery.envelope.id, "handler": delivery.handler, "token": delivery.token}
    await _keep(session, now, key, attempt=delivery.attempt, process=process, error=error)


async def keep_lost(session: Session, now: sa.ColumnElement[float], claim: sa.Row[Any]) -> None:
    """Keep that the owner before this claim had not finished: it died, hung, or was cut off."""
    key = {"event_id": claim.event_id, "handler": claim.handler, "token": claim.token - 1}
    lost = {"attempt": claim.attempts - 1, "process": claim.lost_by, "error": LEASE_LOST}
    await _keep(session, now, key, **lost)


async def _keep(
    session: Session, now: sa.ColumnElement[float], key: dict[str, Any], **values: Any
) -> None:
    await session.execute(sa.insert(failures).values(failed_at=now), {**key, **values})
    of_this = sa.and_(*(failures.c[name] == key[name] for name in ("event_id", "handler")))
    tokens = sa.select(failures.c.token).where(of_this).order_by(failures.c.token.desc())
    eleventh = tokens.limit(1).offset(MAX_FAILURES).scalar_subquery()
    await session.write(sa.delete(failures).where(of_this, failures.c.token <= eleventh))


def describe(error: Exception) -> str:
    """Return what can be stored of an error: its text may hold what no database takes."""
    text = f"{type(error).__name__}: {error}"[:MAX_ERROR_LENGTH]
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
