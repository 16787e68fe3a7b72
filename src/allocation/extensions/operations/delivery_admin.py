"""The deliveries that are outstanding, and what a person decides: retry, discard, pause, resume.

A process that runs one which is retried or discarded notices: it has lost its lease.

Pending deliveries of a paused handler are moved out of the way of claims, by `PAUSE`; what runs
ends as always. What is committed, retried or replayed meanwhile is held by `pause_of`: resuming
waits for it, and finds it.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from allocation.adapters.claim_statements import NEXT_TOKEN
from allocation.adapters.database import Database
from allocation.adapters.delivery_states import (
    PAUSE,
    PAUSED_HANDLERS,
    delivery_state,
    is_scheduled,
    pause_of,
)
from allocation.adapters.orm import FINISHED, PARKED, PENDING, deliveries, events, handler_pauses
from allocation.adapters.transaction import Transaction
from allocation.extensions.operations.causation_tree import State, summary
from allocation.extensions.operations.exceptions import DeliveryNotFound, HandlerNotFound
from allocation.extensions.operations.times import in_utc
from allocation.service_layer.envelopes import EventId

delivery_key = sa.tuple_(deliveries.c.event_id, deliveries.c.handler)
Which = Literal["outstanding", "pending", "scheduled", "parked", "done", "all"]
RELEASED_TOGETHER = 10_000
PARTS = {"outstanding": ("pending", "parked"), "all": ("pending", "scheduled", "parked", "done")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery, its state, and in a few words what its event is about.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who has paused a handler, and when."""

    handler: str
    paused_at: datetime
    paused_by: str


async def listed_deliveries(
    transaction: Transaction,
    clock: sa.ColumnElement[float],
    which: Which = "outstanding",
    *,
    limit: int | None = None,
) -> AsyncIterator[Delivery]:
    """Yield deliveries, in constant memory, a part after the other, at most `limit` of each.

    What is pending comes in the order in which workers claim it, and so does what is scheduled for
    later; what is parked, the longest first; what is done, in no order. Each part is in an index of
    its own, or is all the rest: however long the history is, what is outstanding is found at once.
    """
    row, later = deliveries.c, is_scheduled(clock)
    pending = _deliveries(clock).where(PENDING).order_by(row.replay, row.available_at)
    statements = {
        "pending": pending.where(~later),
        "scheduled": pending.where(later),
        "parked": _deliveries(clock).where(PARKED).order_by(row.parked_at),
        "done": _deliveries(clock).where(FINISHED),
    }
    for part in PARTS.get(which, (which,)):
        async for found in transaction.stream(statements[part].limit(limit)):
            yield _delivery(found)


async def delivery(database: Database, event_id: EventId, handler: str) -> tuple[Delivery, str]:
    """Return one delivery, and the data of its event: they may be what is wrong.

    :raises DeliveryNotFound: if it is not outstanding
    """
    this = _deliveries(database.clock).where(delivery_key == (event_id, handler), ~FINISHED)
    async with database.read_transaction() as transaction:
        for row in await transaction.execute(this):
            return _delivery(row), row.data
    raise DeliveryNotFound(event_id, handler)


def _deliveries(clock: sa.ColumnElement[float]) -> sa.Select[Any]:
    row = deliveries.c
    return sa.select(
        *(row.event_id, row.handler, row.attempts, row.owner, row.last_error),
        *map(in_utc, (row.available_at, row.parked_at, row.completed_at)),
        delivery_state(clock).label("state"),
        *(events.c.type.label("event_type"), events.c.correlation_id),
        *(events.c.schema_version, events.c.data),
    ).join_from(deliveries, events)


def _delivery(row: sa.Row[Any]) -> Delivery:
    values = row._asdict()
    words = summary(row.event_type, values.pop("schema_version"), values.pop("data"))
    return Delivery(about=words, **values)


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


async def pause(database: Database, names: Collection[str], *, by: str) -> int | None:
    """Pause a handler; return how many deliveries that holds, None if it was paused already."""
    row, now = deliveries.c, {"paused_at": database.clock, "paused_by": sa.bindparam("by")}
    known = PAUSED_HANDLERS.where(handler_pauses.c.handler.in_(names))
    with suppress(IntegrityError):  # another person does it, too, and was faster
        async with database.write_transaction(no_timeout=True) as transaction:
            paused = await transaction.execute(known)
            if not (new := set(names) - set(paused.scalars())):
                return None
            rows = [{"handler": name, "by": by} for name in new]
            await transaction.execute(sa.insert(handler_pauses).values(**now), rows)
            # what a process runs, or has lost, is left alone: it is little
            pending = PENDING, row.handler.in_(new), row.owner.is_(None), row.available_at < PAUSE
            held = sa.update(deliveries).values(available_at=row.available_at + PAUSE)
            count = await transaction.execute_dml(held.where(*pending))
            await transaction.commit()
            return count
    return None


async def resume(database: Database, names: Collection[str]) -> int | None:
    """Resume a handler; return how many deliveries that releases, None if it was not paused.

    Each is due when it would have been without the pause. If interrupted, it is paused as before.
    """
    row, paused = deliveries.c, handler_pauses.c.handler
    held = PENDING, row.handler.in_(names), row.available_at > PAUSE
    released = sa.update(deliveries).values(available_at=row.available_at - PAUSE)
    some = sa.select(row.event_id, row.handler).where(*held).limit(RELEASED_TOGETHER)
    count, number = 0, RELEASED_TOGETHER
    while number == RELEASED_TOGETHER:
        async with database.write_transaction(no_timeout=True) as transaction:
            number = await transaction.execute_dml(released.where(*held, delivery_key.in_(some)))
            await transaction.commit()
        count += number
    async with database.write_transaction(no_timeout=True) as transaction:
        # waits for the commits that have seen the pause; others wait for this one, so it is short
        ended = await transaction.execute_dml(sa.delete(handler_pauses).where(paused.in_(names)))
        count += await transaction.execute_dml(released.where(*held))
        transaction.notify_workers()
        await transaction.commit()
    return count if ended else None


async def paused_handlers(transaction: Transaction) -> Sequence[Pause]:
    """Return what is paused, the longest first."""
    row = handler_pauses.c
    statement = sa.select(row.handler, in_utc(row.paused_at), row.paused_by)
    rows = await transaction.execute(statement.order_by(row.paused_at, row.handler))
    return [Pause(**each._asdict()) for each in rows]
