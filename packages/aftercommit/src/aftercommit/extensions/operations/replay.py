"""Creates deliveries of past events for a handler, such as one that was added later.

No position is stored: an event that has a delivery to the handler gets no second one. So a replay
can be killed, repeated, or run twice at once. Replayed deliveries run only when no others are due.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from aftercommit.bus import MessageBus
from aftercommit.database.database import Database
from aftercommit.database.transaction import Transaction
from aftercommit.deliveries.pauses import pause_of
from aftercommit.deliveries.states import WAS_HANDLED, Now, new, replayed
from aftercommit.deliveries.tables import IN_LANE, deliveries, events
from aftercommit.envelopes import EventId, HandlerSubscription
from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations.batched_transactions import Advance, for_each_batch
from aftercommit.extensions.operations.decisions import Decision
from aftercommit.extensions.operations.exceptions import OrderedHandler
from aftercommit.extensions.operations.ordered_replay import enqueue, ensure_paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Which past events are to be delivered to a handler; times are seconds since 1970."""

    handler: str
    aliases: Collection[str]  # its current and earlier names: all of their work counts as done
    event_types: Mapping[str, float]  # wire names, each with the delay of its subscription
    since: float = 0.0
    until: float  # when the replay began
    in_order: Mapping[str, HandlerSubscription] = field(default_factory=dict)  # if it is ordered
    again: bool = False  # also what it has done, unless it was discarded or given up

    async def ensure_possible(self, database: Database) -> None:
        """Refuse now what each batch would refuse.

        :raises OrderedHandler: if the handler is ordered, and not paused
        """
        if self.in_order:
            async with database.write_transaction() as transaction:
                await ensure_paused(transaction, self.handler)

    async def count(self, database: Database) -> int:
        """Return how many deliveries the replay would make due now."""
        now = database.clock

        async def count_batch(transaction: Transaction, ids: Sequence[EventId]) -> int:
            number = sa.select(sa.func.count()).select_from(self._wanted(ids, now).subquery())
            return int((await transaction.execute(number)).scalar_one())

        begin, all_events = database.read_transaction, self._events(now)
        return await for_each_batch(begin, all_events, count_batch, pause=0)

    async def run(self, database: Database, decision: Decision, advance: Advance) -> int:
        """Make the deliveries due, one batch after the other, and return how many there were.

        Those of a delayed handler are due its delay after their events. Deliveries that another
        process makes due at the same time are counted there. `advance` is called with the size of
        each batch.
        """

        async def enqueue_batch(transaction: Transaction, ids: Sequence[EventId]) -> int:
            if self.in_order:
                wanted = self._wanted(ids, database.clock)
                number = await enqueue(transaction, database, wanted, self.handler, self.in_order)
            else:
                number = await self._enqueue(transaction, database.clock, ids)
            if number:
                transaction.notify_workers()
            advance(number)
            return number

        async with database.write_transaction() as transaction:
            await decision.store(transaction, database, "replay", [(None, self.handler)])
            await transaction.commit()
        # another replay waits here, and retention skips what is locked
        locked = self._events(database.clock).with_for_update(key_share=True)
        return await for_each_batch(database.write_transaction, locked, enqueue_batch)

    def _is_past(self, time: sa.Column[float], now: Now) -> sa.ColumnElement[bool]:
        """Tell what was recorded before this began; future times are those of a clock ahead."""
        return sa.or_(time <= self.until, time > now)

    def _events(self, now: Now) -> sa.Select[Any]:
        """Select events of all types, so that a batch has the same size even if a type is rare."""
        time = events.c.recorded_at
        return sa.select(time, events.c.id).where(time >= self.since, self._is_past(time, now))

    def _wanted(self, ids: Sequence[EventId], now: Now) -> sa.Select[Any]:
        """Select events without a delivery to the handler, or with one that is to be done again."""
        row = deliveries.c
        is_done = sa.and_(self._is_past(row.completed_at, now), WAS_HANDLED)
        is_kept = ~sa.func.coalesce(is_done, sa.false()) if self.again else sa.true()
        kept = sa.exists().where(
            row.event_id == events.c.id, row.handler.in_(self.aliases), is_kept
        )
        these = events.c.id.in_(ids), events.c.type.in_(self.event_types)
        return sa.select(events.c.id).where(*these, ~kept)

    async def _enqueue(self, transaction: Transaction, now: Now, ids: Sequence[EventId]) -> int:
        wanted, handler, number = self._wanted(ids, now), sa.literal(self.handler), 0
        if self.again:
            its = deliveries.c.event_id.in_(wanted), deliveries.c.handler.in_(self.aliases)
            number = await transaction.execute_dml(replayed(now, handler).update(*its))
        happened = sa.case((events.c.recorded_at < now, events.c.recorded_at), else_=now)
        later = happened + sa.case(dict(self.event_types), value=events.c.type)
        due = sa.case((later > now, later), else_=now) + pause_of(handler)
        values = new(due, handler=handler, replay=True, schema_version=events.c.schema_version)
        found = wanted.add_columns(*(_column(value) for value in values.values()))
        stored = sa.insert(deliveries).from_select(["event_id", *values], found)
        stored = stored.returning(deliveries.c.event_id)
        return number + len((await transaction.execute(stored)).all())


async def count_left(bus: MessageBus, database: Database, handler: str) -> int:
    """Return how many past events an interrupted replay to an ordered handler has left out.

    They have no delivery, while later events of the same type have a replayed one that waits.
    """
    row, time = deliveries.c, events.c.recorded_at
    waiting = IN_LANE, row.handler == handler, row.replay
    first = sa.select(events.c.type, sa.func.min(time)).join_from(deliveries, events)
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(first.where(*waiting).group_by(events.c.type))).all()
        now = (await transaction.execute(sa.select(database.clock))).scalar_one()
    if not found or handler not in bus.registry.events:
        return 0
    types, times = zip(*found, strict=True)
    left = replay_of(bus, handler, types, since=min(times), until=now)
    return await left.count(database)


def _column(value: Any) -> sa.ColumnElement[Any]:
    return value if isinstance(value, sa.ColumnElement) else sa.literal(value)


def replay_of(bus: MessageBus, handler: str, types: Collection[str], **period: Any) -> Replay:
    """Return the replay for these arguments.

    :raises InvalidValue: if no such handler of events can run here, or if it does not subscribe to
        these events
    :raises OrderedHandler: if it would handle events `again` although later ones have followed
    """
    bound = bus.registry.events
    aliases = [name for name, each in bound.items() if each.name == handler]
    if handler not in aliases:
        names = ", ".join(sorted({each.name for each in bound.values()}))
        problem = f"{handler!r} is not a handler of events that can run here; these are {names}"
        raise InvalidValue("handler", problem)
    subscribed, name_of = bus.envelopes.subscriptions.items(), bus.envelopes.codec.name_of
    its = {name_of(each): names[handler] for each, names in subscribed if handler in names}
    if not its:
        raise InvalidValue(
            "handler", f"{handler!r} is unsubscribed, and runs only deliveries that are stored"
        )
    for unknown in set(types) - set(its):
        problem = f"{handler} does not subscribe to {unknown!r}, but to {', '.join(its)}"
        raise InvalidValue("event type", problem)
    event_types = {name: its[name].delay for name in types or its}
    lanes = {name: each for name, each in its.items() if each.lane}
    if lanes and period.get("again"):
        raise OrderedHandler(handler, "past events would be handled again after later ones")
    return Replay(
        handler=handler, aliases=aliases, event_types=event_types, in_order=lanes, **period
    )
