"""What is done in the transaction of somebody else: events stored, messages noted, tests."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from aftercommit.claims import Claim
from aftercommit.envelopes import EventId, MessageContext, current_context
from aftercommit.errors import CausationTooDeep, WiringError, raise_if_any
from aftercommit.outbox.app import OutboxApp
from aftercommit.outbox.caller_session import WRITE
from aftercommit.outbox.handler_session import kept_open
from aftercommit.outbox.recorded_lanes import store_in_lanes, take_places
from aftercommit.sql.backend import DatabaseBackend
from aftercommit.sql.claim_statements import RAW_EVENTS, first_of_each, handler_params
from aftercommit.sql.lanes import Place, unblocking
from aftercommit.sql.sqlite import SQLite
from aftercommit.sql.tables import commands, deliveries, events
from aftercommit.unit_of_work import MAX_DEPTH

FORGET = sa.delete(events).where(events.c.id == sa.bindparam("of_event", type_=sa.Uuid))
INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def store(
    connection: sa.Connection,
    app: OutboxApp,
    recorded: Sequence[object],
    subject: str,
    cause: MessageContext | None,
) -> None:
    """Insert events, and a delivery to each of their handlers: due at once, or when it is Later.

    :raises WiringError: if the table has no row for an event
    :raises InvalidPayload: if an event is too long, or its values are not of the types it says
    :raises CausationTooDeep: if `MAX_DEPTH` events led to it

    It asks for no pauses, which would lock them to the end of a transaction that may last: who
    claims leaves out what is paused.
    """
    strange = [repr(each) for each in recorded if isinstance(each, type | list)]
    raise_if_any("record takes events one by one, as in OrderPlaced(7), and not", strange)
    unknown = [type(each).__name__ for each in recorded if type(each) not in app.handlers().events]
    raise_if_any(f"events without a row: say on({', '.join(unknown)}, …) in the outbox", unknown)
    context = current_context.get() or cause or _caused_by(app.sources.new_id())
    envelopes, new = app.envelopes.of_events(((each, subject) for each in recorded), context)
    if not envelopes:
        return
    if context.depth > MAX_DEPTH:
        raise CausationTooDeep(context.depth, [context.handler])
    kind = _backend(connection, app)
    now = _clock(connection, app)
    rows = [app.codec().to_row(envelope) for envelope in envelopes]
    for row in rows:
        app.codec().from_row(row)  # what nobody could read is refused while it can be corrected
    connection.execute(sa.insert(events).values(recorded_at=now, **kind.position), rows)
    due = now + sa.bindparam("seconds", type_=sa.Double)
    outstanding = [
        {
            "event_id": envelope.id,
            "handler": handler,
            "schema_version": envelope.schema_version,
            "seconds": delay,
        }
        for envelope, handler, delay, lane in new
        if not lane
    ]
    try:
        store_in_lanes(connection, kind, now, new)
        if outstanding:
            values = sa.insert(deliveries).values(attempts=0, token=1, available_at=due)
            connection.execute(values, outstanding)
    except Exception:  # whoever goes on and commits would store events that nobody gets
        with suppress(SQLAlchemyError):  # on PostgreSQL, nothing can be committed any more
            ids = [{"of_event": envelope.id} for envelope in envelopes]
            connection.execute(FORGET, ids)
        raise


def note(
    connection: sa.Connection, app: OutboxApp, source: str, message_id: str
) -> MessageContext | None:
    """Insert a message; return the context of what it causes, or None if it was there already."""
    this = app.sources.new_id()
    context = current_context.get() or _caused_by(this)
    row = {
        "id": this,
        "type": "message",
        "source": source,
        "message_id": message_id,
        "correlation_id": context.correlation_id,
    }
    new = INSERT[connection.dialect.name](commands).values(accepted_at=_clock(connection, app))
    # a row count is not what each driver has after an INSERT
    stored = connection.execute(new.on_conflict_do_nothing().returning(commands.c.id), row)
    return context if stored.first() else None


async def deliver_due(session: AsyncSession, app: OutboxApp) -> int:
    """Run the handlers of all that is due in this session, until nothing is; return how many."""
    connection, count = await session.connection(bind_arguments={"clause": WRITE}), 0
    now = await connection.run_sync(_clock, app)
    columns, handlers = deliveries.c, app.bound.events
    key = columns.event_id, columns.handler, columns.lane, columns.position, columns.available_at
    is_due = columns.available_at <= now
    firsts = first_of_each(app.codec(), len(handlers), False, *key, which=is_due)
    first = sa.union_all(*firsts).order_by("available_at").limit(1)
    while True:
        await connection.run_sync(take_places)
        found = (await connection.execute(first, handler_params(handlers))).first()
        if found is None:
            return count
        await _deliver(session, connection, app, *found[:-1])
        count += 1


async def _deliver(
    session: AsyncSession,
    connection: AsyncConnection,
    app: OutboxApp,
    event_id: EventId,
    handler: str,
    lane: str | None,
    position: int,
) -> None:
    [row] = (await connection.execute(RAW_EVENTS, {"ids": [event_id]})).mappings()
    envelope = replace(app.codec().from_row(row), position=position)
    claim = Claim(envelope=envelope, handler=handler, attempt=1, lane=lane)
    token = current_context.set(claim.context)
    try:
        with kept_open(session, connection.sync_connection):
            await app.bound.events[handler].run(claim, SimpleNamespace(session=session))
    finally:
        current_context.reset(token)
    this = deliveries.c.event_id == event_id, deliveries.c.handler == handler
    done = sa.update(deliveries).where(*this)
    await connection.execute(done.values(attempts=1, available_at=None, completed_at=0))
    if lane:
        now = await connection.run_sync(_clock, app)
        place = Place(lane, position, event_id, handler)
        await connection.execute(unblocking(now), place._asdict())


def _caused_by(message: UUID) -> MessageContext:
    """Return the context of what a message has caused, or a request without one: a trace begins."""
    return MessageContext(correlation_id=message, causation_id=message)


def _clock(connection: sa.Connection, app: OutboxApp) -> sa.ColumnElement[float]:
    """Return the clock of this database."""
    return sa.literal_column(_backend(connection, app).clock, sa.Double())


def _backend(connection: sa.Connection, app: OutboxApp) -> type[DatabaseBackend]:
    """Return what is to be known of this kind of database.

    :raises WiringError: if the engine does not know it
    """
    scheme, backends = connection.dialect.name, app.extensions.database_backends()
    if scheme == "sqlite":
        return SQLite
    if scheme in backends:
        return backends[scheme]()
    raise WiringError("a session of a database that is not supported", scheme)
