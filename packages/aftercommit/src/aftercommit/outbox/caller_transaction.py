"""What is done in the transaction of somebody else: events stored, messages noted, tests."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from aftercommit.claims import Claim
from aftercommit.envelopes import EventId, MessageContext, bind_context, current_context
from aftercommit.errors import CausationTooDeep, WiringError, raise_if_any
from aftercommit.outbox.app import OutboxApp
from aftercommit.outbox.handler_session import kept_open
from aftercommit.sql.backend import DatabaseBackend
from aftercommit.sql.claim_statements import RAW_EVENTS, first_of_each, handler_params
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.lanes import Place, insertion, lock_keys, rows_of, unblocking
from aftercommit.sql.schema import owner_of
from aftercommit.sql.sqlite import SQLite
from aftercommit.sql.tables import commands, deliveries, events
from aftercommit.unit_of_work import MAX_DEPTH

logger = logging.getLogger(__name__)

NO_TABLES = (
    "it has not the tables of the outbox: running() makes them, and so does "
    '"aftercommit db upgrade MODULE:NAME", where MODULE:NAME names the outbox'
)
INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def expect_async(session: object, name: str) -> None:
    """Refuse a session of synchronous code, in words that say what there is for it."""
    if not isinstance(session, AsyncSession):
        problem = f"{name} needs an AsyncSession; for a Session there is {name}_sync. It is"
        raise WiringError(problem, repr(session))


def expect_sync(session: object, name: str) -> None:
    """Refuse an asynchronous one in the same way."""
    if isinstance(session, AsyncSession):
        problem = f"{name}_sync needs a Session; for an AsyncSession there is {name}. It is"
        raise WiringError(problem, repr(session))


def check_engine(connection: sa.Connection, app: OutboxApp) -> None:
    """Compare the engine of a session with what the worker uses, and look for our tables.

    :raises WiringError: if it is that of another database: nobody would look there
    :raises DatabaseUnavailable: if nobody has made them yet
    :raises SchemaOfAnother: if they are those of another application: its worker knows no others
    """
    ours, theirs = sa.make_url(app.load({}).database_url), connection.engine.url
    if _place(ours) != _place(theirs):
        there = theirs.set(drivername=theirs.get_backend_name())
        raise WiringError("the sessions and the outbox have two databases", str(there), str(ours))
    if not sa.inspect(connection).has_table(events.name):
        raise DatabaseUnavailable(NO_TABLES)
    owner_of(app.name, connection)
    driver = connection.connection.driver_connection
    if getattr(driver, "isolation_level", None) is not None and _place(ours)[0] == "sqlite":
        logger.warning(
            "requests can overwrite what others have written since they have read it; "
            "once for the engine, call aftercommit.sqlite.prepare"
        )


def _place(url: sa.URL) -> tuple[str, str]:
    """Return the kind of a database, and its name; a server may have many addresses."""
    kind, name = url.get_backend_name(), url.database or ""
    return kind, os.path.realpath(name.removeprefix("file:")) if kind == "sqlite" else name


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
    claims leaves out what is paused. But the lanes of ordered handlers are locked as long.
    """
    strange = [repr(each) for each in recorded if isinstance(each, type | list)]
    raise_if_any("record takes events one by one, as in OrderPlaced(7), and not", strange)
    unknown = [type(each).__name__ for each in recorded if type(each) not in app.handlers().events]
    raise_if_any(f"events without a row: say on({', '.join(unknown)}, …) in the outbox", unknown)
    context = current_context.get() or cause or _caused_by(uuid4())
    envelopes, new = app.envelopes.of_events(((each, subject) for each in recorded), context)
    if not envelopes:
        return
    if context.depth > MAX_DEPTH:
        raise CausationTooDeep(context.depth, [context.handler])
    kind = _backend(connection, app)
    now = _clock(connection, app)
    keys = lock_keys(each.lane for each in new if each.lane)
    if keys and kind.lock_lanes is not None:
        connection.execute(kind.lock_lanes, {"keys": keys})
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
    if in_lanes := rows_of(new):
        connection.execute(insertion(now), in_lanes)
    if outstanding:
        values = sa.insert(deliveries).values(attempts=0, token=1, available_at=due)
        connection.execute(values, outstanding)


def note(
    connection: sa.Connection, app: OutboxApp, source: str, message_id: str
) -> MessageContext | None:
    """Insert a message; return the context of what it causes, or None if it was there already."""
    this = uuid4()
    context = current_context.get() or _caused_by(this)
    row = {
        "id": this,
        "type": "message",
        "source": source,
        "message_id": message_id,
        "correlation_id": context.correlation_id,
    }
    new = INSERT[connection.dialect.name](commands).values(accepted_at=_clock(connection, app))
    result = connection.execute(new.on_conflict_do_nothing(), row)
    return context if result.rowcount == 1 else None


async def deliver_due(session: AsyncSession, app: OutboxApp) -> int:
    """Run the handlers of all that is due in this session, until nothing is; return how many."""
    connection, count = await session.connection(), 0
    now = await session.run_sync(lambda sync: _clock(sync.connection(), app))
    columns, handlers = deliveries.c, app.bound.events
    key = columns.event_id, columns.handler, columns.lane, columns.position, columns.available_at
    is_due = columns.available_at <= now
    firsts = first_of_each(app.codec(), len(handlers), False, *key, which=is_due)
    first = sa.union_all(*firsts).order_by("available_at").limit(1)
    while found := (await connection.execute(first, handler_params(handlers))).first():
        await _deliver(session, connection, app, *found[:-1])
        count += 1
    return count


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
    with bind_context(claim.context), kept_open(session, connection.sync_connection):
        await app.bound.events[handler].run(claim, SimpleNamespace(session=session))
    this = deliveries.c.event_id == event_id, deliveries.c.handler == handler
    done = sa.update(deliveries).where(*this)
    await connection.execute(done.values(attempts=1, available_at=None, completed_at=0))
    if lane:
        now = await session.run_sync(lambda sync: _clock(sync.connection(), app))
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
