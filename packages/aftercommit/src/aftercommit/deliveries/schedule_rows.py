"""The schedules in the database: the last time of each, and the event of the time that has come.

A row is moved by compare-and-set, in the transaction of the event: of any number of workers, one
stores it. The row is not pruned, so nothing is forgotten. The database's clock decides.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aftercommit.claims import NewDelivery
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.lanes import lock_lanes
from aftercommit.deliveries.new_events import NewEvents
from aftercommit.deliveries.tables import schedules
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import Envelope, MessageContext
from aftercommit.errors import InvalidPayload, TransientError, WiringError, raise_if_any
from aftercommit.schedules import MOST_COUNTED, Due, Every

LOOK_SECONDS = 60.0  # the longest sleep: the database's clock may have been moved forward
SOON_SECONDS = 0.05  # the shortest, since a sleep may end a moment too early
AGAIN_SECONDS = 5.0  # after an error

BEGIN = sa.text(
    "INSERT INTO aftercommit_schedules (name, last_at) VALUES (:of_schedule, :begun_at)"
    " ON CONFLICT DO NOTHING RETURNING name"
)
MOVE = (
    sa.update(schedules)
    .where(
        schedules.c.name == sa.bindparam("of_schedule"),
        schedules.c.last_at == sa.bindparam("before", type_=sa.Double),
    )
    .values(
        last_at=sa.bindparam("new_last_at", type_=sa.Double),
        missed=sa.bindparam("new_missed", type_=sa.Integer),
        correlation_id=sa.bindparam("new_correlation_id", type_=sa.Uuid),
    )
)

logger = logging.getLogger(__name__)


async def stored_schedules(
    transaction: Transaction, database: Database
) -> tuple[dict[str, sa.Row[Any]], float]:
    """Return the rows of all schedules, by their keys, and the time of the database's clock."""
    now = (await transaction.execute(sa.select(database.clock))).scalar_one()
    rows = await transaction.execute(sa.select(schedules))
    return {row.name: row for row in rows}, now


class Schedules:
    """Stores the events of times that have come. Any number of workers may do it."""

    def __init__(
        self, database: Database, every: Sequence[Every[Any]], envelopes: EnvelopeFactory
    ) -> None:
        self._database, self._every, self._envelopes = database, every, envelopes
        self._new_events = NewEvents(database.backend, database.clock, in_sessions=False)

    async def store_due(self) -> tuple[float, bool]:
        """Store what is due; return the seconds until the next look, and whether there was any.

        A schedule whose event cannot be stored is tried again, and stops no other one.

        :raises Unavailable: if the database cannot be used
        """
        if not self._every:
            return LOOK_SECONDS, False
        async with self._database.read_transaction() as transaction:
            rows, now = await stored_schedules(transaction, self._database)
        sleep, stored = LOOK_SECONDS, False
        for each in self._every:
            try:
                if (row := rows.get(each.key)) is None:
                    await self._begin(each, now)
                    last = now
                elif due := each.due(row.last_at, now):
                    stored |= await self._store(each, row.last_at, due)
                    last = due.at.timestamp()
                else:
                    last = row.last_at
                next_at = each.next_after(last)
                sleep = min(sleep, next_at.timestamp() - now if next_at else LOOK_SECONDS)
            except TransientError:
                raise
            except Exception as error:
                text = "the schedule %s stores no event: %s; it is tried again"
                logger.error(text, each.name, error, exc_info=not isinstance(error, WiringError))
                sleep = min(sleep, AGAIN_SECONDS)
        return max(sleep, SOON_SECONDS), stored

    async def _begin(self, each: Every[Any], now: float) -> None:
        async with self._database.write_transaction() as transaction:
            new = await transaction.execute(BEGIN, {"of_schedule": each.key, "begun_at": now})
            is_new = new.first() is not None
            await transaction.commit()
        if is_new:
            logger.info("the schedule %s begins: next at %s", each.name, each.next_after(now))

    async def _store(self, each: Every[Any], last: float, due: Due) -> bool:
        """Store the event of a time, unless another process has; tell whether it was this one."""
        envelope, new = event_of(each, due.at, self._envelopes)
        moved = {
            "of_schedule": each.key,
            "before": last,
            "new_last_at": due.at.timestamp(),
            "new_missed": due.missed,
            "new_correlation_id": envelope.context.correlation_id,
        }
        rows = [self._database.codec.to_row(envelope)]
        async with self._database.write_transaction() as transaction:
            if await transaction.execute_dml(MOVE, moved) != 1:
                return False
            lanes = [delivery.lane for delivery in new if delivery.lane]
            await lock_lanes(transaction, self._database, lanes)
            await transaction.run_sync(lambda it: self._new_events.store(it, rows, new))
            transaction.notify_workers()
            await transaction.commit()
        if due.missed:
            count = f"{due.missed}{' or more' * (due.missed == MOST_COUNTED)}"
            text = "no worker was up for the schedule %s: times missed before that of %s: %s"
            logger.warning(text, each.name, due.at, count)
        logger.info("the schedule %s: %s has come, event %s", each.name, due.at, envelope.id)
        return True


def event_of(
    each: Every[Any], at: datetime, envelopes: EnvelopeFactory
) -> tuple[Envelope, Sequence[NewDelivery]]:
    """Return the event of a time, with which a trace begins, and its deliveries.

    :raises WiringError: if it cannot be made, or if the table has no entry for it
    :raises InvalidPayload: if the key of an ordered handler is None
    """
    event, first = each.event_at(at), envelopes.new_id()
    if type(event) not in envelopes.subscriptions:
        name = type(event).__name__
        problem = f"the schedule {each.name} makes an event that has no entry: add on({name}, …)"
        raise WiringError(f"{problem} to the table of handlers", name)
    context = MessageContext(correlation_id=first, causation_id=first)
    [envelope], new = envelopes.of_events([(event, each.subject)], context)
    return envelope, new


def check_schedules(every: Sequence[Every[Any]], envelopes: EnvelopeFactory) -> None:
    """Make the next event of each schedule, so that a mistake is found at start.

    :raises WiringError: if one cannot be made, stored and read, or if two schedules have one name
    """
    names = Counter(name for each in every for name in {each.name, each.key})
    raise_if_any("two schedules have one name", [name for name in names if names[name] > 1])
    now = envelopes.now().timestamp()
    for each in every:
        if at := each.next_after(now):
            envelope, _ = event_of(each, at, envelopes)
            try:
                envelopes.codec.from_row(envelopes.codec.to_row(envelope))
            except InvalidPayload as error:
                problem = f"the schedule {each.name} makes an event that could not be read again"
                raise WiringError(problem, str(error)) from error
