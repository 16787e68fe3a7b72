"""Prunes old events and commands that are done. Workers do it, too: `worker_services.py`."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.tables import FINISHED, commands, decisions, deliveries, events
from aftercommit.envelopes import EventId
from aftercommit.extensions.old_events import old_events
from aftercommit.extensions.operations.batched_transactions import Advance, for_each_batch
from aftercommit.extensions.operations.decisions import Decision


async def prune(
    database: Database,
    *,
    older_than: float,
    decision: Decision | None = None,
    advance: Advance = lambda size: None,
    pause: float = 1.0,
) -> int:
    """Delete what was recorded more than `older_than` seconds ago; return how many events.

    An event is deleted, with its deliveries and their history, if each of them is done; a command,
    if no event of its trace is left; a decision, with its event. Locked rows are left for the next
    time. For `advance`, which counts the rows looked at, and `pause` see `for_each_batch`. A worker
    prunes without a `decision`, because its settings ask for it.
    """
    async with database.write_transaction() as transaction:
        is_past = decisions.c.decided_at < database.clock - older_than
        old = sa.delete(decisions).where(is_past, decisions.c.event_id.is_(None))
        await transaction.execute_dml(old)
        if decision:
            await decision.store(transaction, database, "prune")
        await transaction.commit()
    in_batches = partial(for_each_batch, database.write_transaction, pause=pause)
    locked = old_events(database, older_than).with_for_update(skip_locked=True)
    count = await in_batches(locked, _delete_done, advance)
    is_old = commands.c.accepted_at < database.clock - older_than
    old_commands = sa.select(commands.c.accepted_at, commands.c.id).where(is_old)
    await in_batches(old_commands.with_for_update(skip_locked=True), _delete_commands)
    return count


async def _delete_done(transaction: Transaction, locked: Sequence[EventId]) -> int:
    """Delete those of these events whose deliveries are all done.

    This has to be checked under the lock, in a separate statement: the locking statement sees
    deliveries as they were when it began, and a replay may have added some before it got the lock.
    """
    pending = sa.exists().where(deliveries.c.event_id == events.c.id, ~FINISHED)
    done = sa.select(events.c.id).where(events.c.id.in_(locked), ~pending)
    ids = (await transaction.execute(done)).scalars().all()
    await transaction.execute_dml(sa.delete(deliveries).where(deliveries.c.event_id.in_(ids)))
    return await transaction.execute_dml(sa.delete(events).where(events.c.id.in_(ids)))


async def _delete_commands(transaction: Transaction, locked: Sequence[UUID]) -> int:
    has_events = sa.exists().where(events.c.correlation_id == commands.c.correlation_id)
    unused = sa.delete(commands).where(commands.c.id.in_(locked), ~has_events)
    return await transaction.execute_dml(unused)
