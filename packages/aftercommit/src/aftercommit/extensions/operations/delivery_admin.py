"""The deliveries that are outstanding, and what a person decides of them: to retry or discard.

A process that runs one which is retried or discarded notices: it has lost its lease.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa

from aftercommit.codec import Codec
from aftercommit.envelopes import EventId
from aftercommit.extensions.operations.causation_tree import State, summary
from aftercommit.extensions.operations.exceptions import DeliveryNotFound, HandlerNotFound
from aftercommit.extensions.operations.times import in_utc
from aftercommit.sql.claim_statements import NEXT_TOKEN
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import delivery_state, is_scheduled, pause_of
from aftercommit.sql.tables import FINISHED, PARKED, PENDING, deliveries, events
from aftercommit.sql.transaction import Transaction

delivery_key = sa.tuple_(deliveries.c.event_id, deliveries.c.handler)
Which = Literal["outstanding", "pending", "scheduled", "parked", "done", "all"]
PARTS = {"outstanding": ("pending", "parked"), "all": ("pending", "scheduled", "parked", "done")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery, its state, and in a few words what its event is about, else its subject.

    `owner` is the process that runs it, has lost it if its lease has expired, or has done it.
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
    last_error: str | None


async def listed_deliveries(
    transaction: Transaction,
    database: Database,
    which: Which = "outstanding",
    *,
    limit: int | None = None,
) -> AsyncIterator[Delivery]:
    """Yield deliveries, in constant memory, a part after the other, at most `limit` of each.

    What is pending comes in the order in which workers claim it, and so does what is scheduled for
    later; what is parked, the longest first; what is done, in no order. Each part is in an index of
    its own, or is all the rest: however long the history is, what is outstanding is found at once.
    """
    clock, row = database.clock, deliveries.c
    later = is_scheduled(clock)
    pending = _deliveries(clock).where(PENDING).order_by(row.replay, row.available_at)
    statements = {
        "pending": pending.where(~later),
        "scheduled": pending.where(later),
        "parked": _deliveries(clock).where(PARKED).order_by(row.parked_at),
        "done": _deliveries(clock).where(FINISHED),
    }
    for part in PARTS.get(which, (which,)):
        async for found in transaction.stream(statements[part].limit(limit)):
            yield _delivery(database.codec, found)


async def delivery(database: Database, event_id: EventId, handler: str) -> tuple[Delivery, str]:
    """Return one delivery, and the data of its event: they may be what is wrong.

    :raises DeliveryNotFound: if it is not outstanding
    """
    this = _deliveries(database.clock).where(delivery_key == (event_id, handler), ~FINISHED)
    async with database.read_transaction() as transaction:
        for row in await transaction.execute(this):
            return _delivery(database.codec, row), row.data
    raise DeliveryNotFound(event_id, handler)


def _deliveries(clock: sa.ColumnElement[float]) -> sa.Select[Any]:
    row = deliveries.c
    return sa.select(
        *(row.event_id, row.handler, row.attempts, row.owner, row.last_error),
        *map(in_utc, (row.available_at, row.parked_at, row.completed_at)),
        delivery_state(clock).label("state"),
        *(events.c.type.label("event_type"), events.c.correlation_id),
        *(events.c.schema_version, events.c.data, events.c.subject),
    ).join_from(deliveries, events)


def _delivery(codec: Codec[object], row: sa.Row[Any]) -> Delivery:
    values = row._asdict()
    words = summary(codec, row.event_type, values.pop("schema_version"), values.pop("data"))
    subject = values.pop("subject")
    return Delivery(about=words or subject, **values)


async def retry(database: Database, event_id: EventId, handler: str) -> None:
    """Reset a delivery's attempts, and make it due now; a process that runs it loses it.

    If its handler is paused, it is due when that is resumed.

    :raises DeliveryNotFound: if it is not outstanding
    """
    await _commit(database, due_now(database), event_id, handler)


async def retry_all_parked(database: Database, names: Collection[str] | None = None) -> int:
    """Do the same for every parked delivery, or those of a handler; return how many there were.

    `names` are all names of the handler.
    """
    these = [PARKED] if names is None else [PARKED, deliveries.c.handler.in_(names)]
    async with database.write_transaction(no_timeout=True) as transaction:
        count = await transaction.execute_dml(due_now(database).where(*these))
        await transaction.commit()
    return count


async def discard(database: Database, event_id: EventId, handler: str) -> None:
    """End a delivery although its handler has not done it; an owner loses it.

    :raises DeliveryNotFound: if it is not outstanding
    """
    await _commit(database, discarded_now(database), event_id, handler)


def due_now(database: Database) -> sa.Update:
    """Return the change that lets deliveries begin again, unless their handler is paused."""
    fresh = {"attempts": 0, "unavailable_attempts": 0, "parked_at": None, "owner": None}
    now = {"token": NEXT_TOKEN, "available_at": database.clock + pause_of(deliveries.c.handler)}
    return sa.update(deliveries).values(**fresh, **now)


def discarded_now(database: Database) -> sa.Update:
    """Return the change that ends deliveries although their handlers have not done them."""
    now = dict.fromkeys(("completed_at", "discarded_at"), database.clock)
    ended = dict.fromkeys(("available_at", "parked_at", "owner"))
    return sa.update(deliveries).values(token=NEXT_TOKEN, **now, **ended)


async def change(
    transaction: Transaction, change: sa.Update, event_id: EventId, handler: str
) -> None:
    """Change a delivery, in the caller's transaction.

    :raises DeliveryNotFound: if it is not outstanding
    """
    this = change.where(delivery_key == (event_id, handler), ~FINISHED)
    if not await transaction.execute_dml(this):
        raise DeliveryNotFound(event_id, handler)


async def _commit(database: Database, update: sa.Update, event_id: EventId, handler: str) -> None:
    async with database.write_transaction() as transaction:
        await change(transaction, update, event_id, handler)
        await transaction.commit()


def all_names(handlers: Mapping[str, str], handler: str) -> Collection[str]:
    """Return all names that a handler has and had, by which its deliveries are stored.

    `handlers` has what each of the names is called now.

    :raises HandlerNotFound: if there is none of this name
    """
    if handler not in handlers:
        raise HandlerNotFound(handler, handlers)
    return [name for name, current in handlers.items() if current == handlers[handler]]
