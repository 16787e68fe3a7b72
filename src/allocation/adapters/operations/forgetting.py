"""Forgets old events and commands that owe nothing, in batches that disturb nobody."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from allocation.adapters.database import Database, Session
from allocation.adapters.operations.batches import (
    AS_LONG_AGAIN,
    START,
    Key,
    in_batches,
    next_after,
    page,
)
from allocation.adapters.orm import FINISHED, commands, deliveries, events
from allocation.service_layer.envelopes import EventId


async def forget(
    database: Database,
    *,
    older_than: float,
    told: Callable[[int], object] = lambda looked_at: None,
    pause: float = AS_LONG_AGAIN,
) -> int:
    """Forget what was recorded more than so many seconds ago; return how many events went.

    An event goes, with its deliveries and their failures, if each of them is done; a command, if
    no event of its story is left. What is locked is left for the next time. `told` hears of each
    batch how many events it has looked at; for `pause`, see `in_batches`.
    """
    moment = database.clock - older_than
    forget_events = partial(_forget_events, database, moment, told)
    number = await in_batches(forget_events, START, pause=pause)
    await in_batches(partial(_forget_commands, database, moment), START, pause=pause)
    return number


async def count_old(database: Database, *, older_than: float) -> int:
    """Return how many events are older than so many seconds, whether they can go or not."""
    old = events.c.recorded_at < database.clock - older_than
    async with database.reading() as session:
        number: int = (await session.execute(sa.select(sa.func.count()).where(old))).scalar_one()
    return number


async def _forget_events(
    database: Database,
    moment: sa.ColumnElement[float],
    told: Callable[[int], object],
    after: Key,
) -> tuple[int, Key | None]:
    old = page(events.c.recorded_at, events.c.id, after).where(events.c.recorded_at < moment)
    async with database.writing() as session:
        rows = (await session.execute(old.with_for_update(skip_locked=True))).all()
        number = await _delete_done(session, rows)
        await session.commit()
    told(len(rows))
    return number, next_after(rows)


async def _delete_done(session: Session, locked: Sequence[sa.Row[Any]]) -> int:
    """Delete those events that owe nothing.

    This has to be asked under the lock, in a statement of its own: one that locks sees deliveries
    as they were when it began, and a replay may have owed more until it got the lock.
    """
    owing = sa.exists().where(deliveries.c.event_id == events.c.id, ~FINISHED)
    done = sa.select(events.c.id).where(events.c.id.in_([row.id for row in locked]), ~owing)
    ids: Sequence[EventId] = (await session.execute(done)).scalars().all()
    await session.write(sa.delete(deliveries).where(deliveries.c.event_id.in_(ids)))
    return await session.write(sa.delete(events).where(events.c.id.in_(ids)))


async def _forget_commands(
    database: Database, moment: sa.ColumnElement[float], after: Key
) -> tuple[int, Key | None]:
    accepted_at = commands.c.accepted_at
    old = page(accepted_at, commands.c.id, after).where(accepted_at < moment)
    has_events = sa.exists().where(events.c.correlation_id == commands.c.correlation_id)
    async with database.writing() as session:
        rows = (await session.execute(old.with_for_update(skip_locked=True))).all()
        these = commands.c.id.in_([row.id for row in rows])
        number = await session.write(sa.delete(commands).where(these, ~has_events))
        await session.commit()
    return number, next_after(rows)
