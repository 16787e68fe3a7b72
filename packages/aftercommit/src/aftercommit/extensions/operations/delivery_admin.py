"""The outstanding deliveries, and an operator's decisions about them: to retry or to discard.

If a process is running such a delivery, it notices that it has lost its lease.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.lanes import after_end
from aftercommit.deliveries.lock_order import KEY, change_in_order
from aftercommit.deliveries.pauses import PAUSE
from aftercommit.deliveries.states import (
    Transition,
    delivery_state,
    discarded,
    is_scheduled,
    retried,
)
from aftercommit.deliveries.tables import (
    BLOCKED,
    CLAIMABLE,
    FINISHED,
    IN_LANE,
    PARKED,
    deliveries,
    events,
)
from aftercommit.envelopes import EventId
from aftercommit.extensions.operations.causation_tree import HistoryEntry, State, summary
from aftercommit.extensions.operations.decisions import (
    Decision,
    What,
    lock_lanes_and_pauses,
    revoke_claims,
)
from aftercommit.extensions.operations.delivery_history import read_history
from aftercommit.extensions.operations.exceptions import DeliveryNotFound
from aftercommit.extensions.operations.times import in_utc

delivery_key = sa.tuple_(*KEY)
Which = Literal["outstanding", "pending", "scheduled", "blocked", "parked", "done", "all"]
Readiness = Literal["due", "paused", "blocked"]
READINESS = sa.case(
    (deliveries.c.available_at > PAUSE, "paused"), (deliveries.c.blocked, "blocked"), else_="due"
).label("readiness")
PARTS = {
    "outstanding": ("pending", "blocked", "parked"),
    "all": ("pending", "scheduled", "blocked", "parked", "done"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery, its state, and in a few words what its event is about, or else its subject.

    `owner` is the process that runs it, that lost it when its lease expired, or that has done it. A
    blocked delivery waits for the first delivery of its lane, which belongs to the event
    `blocked_by`. A due delivery that may not begin now is `held_by` a limit: its name, and how much
    of it is used.
    """

    event_id: UUID
    correlation_id: UUID
    event_type: str
    handler: str
    state: State
    about: str
    attempts: int
    available_at: datetime | None
    parked_at: datetime | None
    completed_at: datetime | None = None
    owner: str | None = None
    lane: str | None = None
    blocked_by: UUID | None = None
    held_by: str | None = None
    last_error: str | None


async def listed_deliveries(
    transaction: Transaction,
    database: Database,
    which: Which = "outstanding",
    *,
    limit: int | None = None,
    lane: str | None = None,
    held: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Delivery]:
    """Yield deliveries in constant memory, one part after the other, at most `limit` of each.

    Pending and scheduled deliveries come in the order in which workers claim them; blocked ones by
    lanes; parked ones, the longest parked first; done ones in no order. Each part but the last has
    an index of its own: however long the history is, outstanding deliveries are found at once. With
    a `lane`, its outstanding deliveries come in its order. `held` are the handlers of which nothing
    may begin now, and why: see `limit_admin.held_by`.
    """
    clock, row = database.clock, deliveries.c
    later = is_scheduled(clock)
    pending = _deliveries(clock).where(CLAIMABLE).order_by(row.replay, row.available_at)
    statements = {
        "pending": pending.where(~later),
        "scheduled": pending.where(later),
        "blocked": _deliveries(clock).where(BLOCKED).order_by(row.lane, row.position),
        "lane": _deliveries(clock).where(IN_LANE, row.lane == lane).order_by(row.position),
        "parked": _deliveries(clock).where(PARKED).order_by(row.parked_at),
        "done": _deliveries(clock).where(FINISHED),
    }
    for part in PARTS.get(which, (which,)) if lane is None else ("lane",):
        async for found in transaction.stream(statements[part].limit(limit)):
            yield _delivery(database.codec, found, held)


async def delivery(
    database: Database, event_id: EventId, handler: str
) -> tuple[Delivery, str, Sequence[HistoryEntry]]:
    """Return one delivery, its history, and its event's data, in which the error may be.

    :raises DeliveryNotFound: if it does not exist
    """
    this = _deliveries(database.clock).where(delivery_key == (event_id, handler))
    async with database.read_transaction() as transaction:
        for row in await transaction.execute(this):
            past = await read_history(transaction, events.c.id == event_id)
            its = [entry for of in (handler, None) for entry in past.get((event_id, of), ())]
            its.sort(key=lambda entry: entry.recorded_at)
            return _delivery(database.codec, row, {}), row.data, its
    raise DeliveryNotFound(event_id, handler)


def _deliveries(clock: sa.ColumnElement[float]) -> sa.Select[Any]:
    row = deliveries.c
    return sa.select(
        *(row.event_id, row.handler, row.attempts, row.owner, row.lane, row.last_error),
        blocked_by().label("blocked_by"),
        *map(in_utc, (row.available_at, row.parked_at, row.completed_at)),
        delivery_state(clock).label("state"),
        *(events.c.type.label("event_type"), events.c.correlation_id),
        *(events.c.schema_version, events.c.data, events.c.subject),
    ).join_from(deliveries, events)


def _delivery(codec: Codec[object], row: sa.Row[Any], held: Mapping[str, str]) -> Delivery:
    values = row._asdict()
    if row.state in ("due", "lease_expired"):
        values["held_by"] = held.get(row.handler)
    words = summary(codec, row.event_type, values.pop("schema_version"), values.pop("data"))
    subject = values.pop("subject")
    return Delivery(about=words or subject, **values)


async def retry(
    database: Database, event_id: EventId, handler: str, decision: Decision
) -> Readiness:
    """Reset a delivery's attempts, and make it due now; a process that is running it loses it.

    If its handler is paused, it is due when the handler is resumed; if an earlier delivery of its
    lane is not done, after that. Return whether it waits for either.

    :raises DeliveryNotFound: if it is not outstanding
    """
    async with database.write_transaction() as transaction:
        readiness = await retry_in(transaction, database, event_id, handler, decision)
        await transaction.commit()
    return readiness


async def retry_in(
    transaction: Transaction, database: Database, event_id: EventId, handler: str, why: Decision
) -> Readiness:
    """Do the same as `retry`, in the caller's transaction."""
    key = event_id, handler
    return await _decide(transaction, database, retried(database.clock), "retry", key, why)


async def retry_all_parked(
    database: Database, decision: Decision, names: Collection[str] | None = None
) -> Counter[Readiness]:
    """Retry every parked delivery, or those of a handler; return how many are in which state.

    `names` are all names that the handler has and had.
    """
    these = [PARKED] if names is None else [PARKED, deliveries.c.handler.in_(names)]
    async with database.write_transaction(no_timeout=True) as transaction:
        await lock_lanes_and_pauses(transaction, database, *these)
        retry = change_in_order(database, retried(database.clock), *these)
        rows = (await transaction.execute(retry.returning(*KEY, READINESS))).all()
        keys = [(row.event_id, row.handler) for row in rows]
        await decision.store(transaction, database, "retry", keys)
        await transaction.commit()
    return Counter(row.readiness for row in rows)


async def discard(database: Database, event_id: EventId, handler: str, decision: Decision) -> None:
    """End a delivery whose handler has not done it.

    A process that is running it loses it, and its lane goes on.

    :raises DeliveryNotFound: if it is not outstanding
    """
    end, key = discarded(database.clock), (event_id, handler)
    async with database.write_transaction() as transaction:
        await _decide(transaction, database, end, "discard", key, decision)
        await transaction.commit()


async def _decide(
    transaction: Transaction,
    database: Database,
    change: Transition,
    what: What,
    key: tuple[EventId, str],
    decision: Decision,
) -> Readiness:
    """Apply an operator's decision to a delivery, in the caller's transaction; return its state.

    :raises DeliveryNotFound: if it is not outstanding
    """
    this = delivery_key == key
    places = await revoke_claims(transaction, database, this)
    changed = change.update(this).returning(READINESS)
    if (row := (await transaction.execute(changed)).one_or_none()) is None:
        raise DeliveryNotFound(*key)
    await decision.store(transaction, database, what, [key])
    if what == "discard":
        await after_end(transaction, database, places)
    readiness: Readiness = row.readiness
    return readiness


def blocked_by() -> sa.ScalarSelect[UUID]:
    """Return the event of the delivery for which a blocked one waits: the first of its lane."""
    first, row = deliveries.alias(), deliveries.c
    found = sa.select(first.c.event_id).where(
        *(row.blocked, ~FINISHED, first.c.lane == row.lane, first.c.completed_at.is_(None)),
        first.c.position < row.position,
    )
    return found.order_by(first.c.position).limit(1).correlate(deliveries).scalar_subquery()
