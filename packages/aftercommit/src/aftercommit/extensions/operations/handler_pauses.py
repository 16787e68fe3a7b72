"""Pausing a handler or a subscription, and resuming it.

Pending deliveries of a paused handler are taken out of the index of claims, by `PAUSE`; running
ones end as usual. Deliveries committed, retried, replayed or given back meanwhile are held by
`pause_of`: resuming waits for these transactions, and finds the deliveries.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.lock_order import KEY
from aftercommit.deliveries.pauses import PAUSED_HANDLERS
from aftercommit.deliveries.states import Transition, held, resumed
from aftercommit.deliveries.tables import BLOCKED, CLAIMABLE, deliveries, handler_pauses
from aftercommit.errors import HandlerNotFound
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.delivery_admin import delivery_key
from aftercommit.extensions.operations.times import in_utc
from aftercommit.process.application import Application, all_names

RELEASED_TOGETHER = 10_000
PARTS = CLAIMABLE, BLOCKED  # each kind of pending delivery has an index


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who has paused a handler, and when."""

    handler: str
    paused_at: datetime
    paused_by: str


async def pause(database: Database, names: Collection[str], decision: Decision) -> int | None:
    """Pause a handler; return how many deliveries are held, or None if it was already paused."""
    now = {"paused_at": database.clock, "paused_by": sa.bindparam("by")}
    known = PAUSED_HANDLERS.where(handler_pauses.c.handler.in_(names))
    with suppress(IntegrityError):  # another operator paused it at the same time, and was faster
        async with database.write_transaction(no_timeout=True) as transaction:
            paused = await transaction.execute(known)
            if not (new := set(names) - set(paused.scalars())):
                return None
            rows = [{"handler": name, "by": decision.by} for name in new]
            await transaction.execute(sa.insert(handler_pauses).values(**now), rows)
            hold = [_of_unlocked(held(), part, deliveries.c.handler.in_(new)) for part in PARTS]
            count = sum([await transaction.execute_dml(each) for each in hold])
            await decision.store(transaction, database, "pause", [(None, name) for name in new])
            await transaction.commit()
            return count
    return None


async def resume(database: Database, names: Collection[str], decision: Decision) -> int | None:
    """Resume a handler; return how many deliveries are released, None if it was not paused.

    Each is due when it would have been without the pause. If interrupted, the handler stays paused.
    """
    its, paused = deliveries.c.handler.in_(names), handler_pauses.c.handler
    count = 0
    for part in PARTS:
        number = RELEASED_TOGETHER
        these = _of_unlocked(resumed(), part, its, limit=number)
        while number == RELEASED_TOGETHER:
            async with database.write_transaction(no_timeout=True) as transaction:
                number = await transaction.execute_dml(these)
                await transaction.commit()
            count += number
    async with database.write_transaction(no_timeout=True) as transaction:
        # it waits for commits that have seen the pause; as others wait for it, it is short
        ended = sa.delete(handler_pauses).where(paused.in_(names)).returning(paused)
        found = (await transaction.execute(ended)).scalars().all()
        left = [resumed().update(part, its) for part in PARTS]
        count += sum([await transaction.execute_dml(each) for each in left])
        await decision.store(transaction, database, "resume", [(None, name) for name in found])
        transaction.notify_workers()
        await transaction.commit()
    return count if found else None


def _of_unlocked(
    change: Transition, *which: sa.ColumnElement[bool], limit: int | None = None
) -> sa.Update:
    """Return the change for rows that nobody has locked; without waiting, there is no deadlock."""
    these = sa.select(*KEY).where(*which, change.when).limit(limit)
    return change.update(delivery_key.in_(these.with_for_update(skip_locked=True)))


def names_to_pause(application: Application, name: str) -> Collection[str]:
    """Return all names under which a handler can be paused, or the one of a subscription.

    :raises HandlerNotFound: if there is neither a handler nor a subscription of this name
    """
    for each in application.subscriptions():
        if name in (each.source, f"from.{each.name}"):
            return [each.source]
    return all_names(application.handlers, name)


async def paused_names(application: Application, handler: str) -> Collection[str]:
    """Return the same, or the one name under which something unknown is paused.

    A release may have removed the handler, or renamed it so long ago that the old name is not
    listed.

    :raises HandlerNotFound: if nothing has this name or is paused under it
    """
    try:
        return names_to_pause(application, handler)
    except HandlerNotFound:
        async with application.database.read_transaction() as transaction:
            if handler in (await transaction.execute(PAUSED_HANDLERS)).scalars().all():
                return [handler]
        raise


async def paused_handlers(transaction: Transaction) -> Sequence[Pause]:
    """Return what is paused, the longest paused first."""
    row = handler_pauses.c
    statement = sa.select(row.handler, in_utc(row.paused_at), row.paused_by)
    rows = await transaction.execute(statement.order_by(row.paused_at, row.handler))
    return [Pause(**each._asdict()) for each in rows]
