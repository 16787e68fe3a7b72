"""The session of a handler: that of the application, in the transaction of the engine.

Or, in tests, of the application's: `deliver_due`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit.claims import Claim, WorkItem
from aftercommit.codec import Codec
from aftercommit.envelopes import current_context
from aftercommit.errors import WiringError
from aftercommit.handler_binding import BoundHandler
from aftercommit.outbox.lanes_at_commit import has_recorded, take_places
from aftercommit.outbox.translated_schemas import translate_for_handler, untranslated
from aftercommit.sql.database_url import shown
from aftercommit.sql.delivery_states import claimed, done
from aftercommit.sql.delivery_store import SqlAlchemyDeliveryStore, first_of_each, handler_params
from aftercommit.sql.handler_guard import ENDED, INSTEAD, SAVEPOINTS, in_transaction
from aftercommit.sql.lanes import LanePosition, unblocking
from aftercommit.sql.tables import RAW_EVENTS, deliveries, events
from aftercommit.sql.transaction import Refusals, Transaction
from aftercommit.sql.unit_of_work_scope import SqlAlchemyUnitOfWorkScope, open_unit_of_work

LEASE_SECONDS = 30.0  # of a claim in a test
WRITE = sa.update(events)  # what routing sessions look at: they read over another connection

Bind = Engine | Connection
NOT_IN_HANDLERS = {
    "rollback": "what they did is rolled back if they raise",
    "close": "it is closed when they have returned",
    "reset": "it is closed when they have returned",
    "invalidate": "its connection is that of the delivery",
}


@asynccontextmanager
async def open_session(
    delivery_store: SqlAlchemyDeliveryStore,
    new_session: Callable[..., AsyncSession],
    work: WorkItem,
) -> AsyncIterator[SqlAlchemyUnitOfWorkScope]:
    """Open the transaction of one attempt, with a session for its handler.

    :raises TransientError: if the database is locked or away, whatever SQLAlchemy calls that
    """
    try:
        async with open_unit_of_work(
            delivery_store, partial(SessionUnitOfWork, new_session), work
        ) as scope:
            yield scope
    except SQLAlchemyError as error:
        if (meaning := delivery_store.database.backend.translate(error)) is error:
            raise
        raise meaning from error


class SessionUnitOfWork:
    """What a handler that asks for `session` works in."""

    def __init__(self, new_session: Callable[..., AsyncSession], transaction: Transaction) -> None:
        self.session = new_session(bind=transaction.connection)
        sync = self.session.sync_session
        connection = transaction.connection.sync_connection
        sync.get_bind = partial(_only, connection, sync.get_bind)  # type: ignore[method-assign]
        sync.twophase = False  # it takes part in a transaction, and does not make one
        if not sync.autobegin:
            sync.begin()
        _refuse_ends(self.session)
        self._transaction = transaction
        translate_for_handler(transaction.connection)

    async def before_commit(self) -> None:
        """Write what the handler has changed."""
        await self.session.flush()
        connection = self._transaction.connection.sync_connection
        translate_for_handler(self._transaction.connection, is_over=True)
        if connection and has_recorded(connection):
            await self._transaction.run_sync(take_places)

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return no rule: what a violated constraint means is seen by nobody."""
        return {}


def _refuse_ends(session: AsyncSession) -> None:
    """Refuse whatever ends the transaction of a session."""
    for name, instead in NOT_IN_HANDLERS.items():
        setattr(session, name, partial(_refuse, f"session.{name}()", instead))
    event.listen(session.sync_session, "before_commit", refuse_commit)


@contextmanager
def kept_open(session: AsyncSession, connection: Connection | None) -> Iterator[None]:
    """Refuse whatever ends the transaction of a session, while its handlers run in it.

    :raises WiringError: at its end, if the transaction was ended all the same
    """
    begun = connection and connection.get_transaction()
    driver = connection and connection.connection.driver_connection
    was_in_transaction = in_transaction(driver)
    _refuse_ends(session)
    event.listen(connection, "commit", _refuse_commit_of)
    try:
        yield
        has_ended = was_in_transaction and not in_transaction(driver)
        if connection and (connection.get_transaction() is not begun or has_ended):
            raise WiringError(ENDED, SAVEPOINTS)
    finally:
        event.remove(connection, "commit", _refuse_commit_of)
        event.remove(session.sync_session, "before_commit", refuse_commit)
        for name in NOT_IN_HANDLERS:
            delattr(session, name)


async def deliver_due(
    session: AsyncSession,
    codec: Codec[Any],
    handlers: Mapping[str, BoundHandler],
    clock: sa.ColumnElement[float],
) -> int:
    """Run in this session the handlers of all that is due, until nothing is; return how many."""
    connection, count = await session.connection(bind_arguments={"clause": WRITE}), 0
    row = deliveries.c
    key = row.event_id, row.handler, row.lane, row.position, row.available_at
    firsts = first_of_each(codec, len(handlers), False, *key, which=row.available_at <= clock)
    first = sa.union_all(*firsts).order_by("available_at").limit(1)
    while True:
        await connection.run_sync(take_places)
        with untranslated(connection.sync_connection):
            found = (await connection.execute(first, handler_params(handlers))).first()
        if found is None:
            return count
        event_id, handler, lane, position, _ = found
        with untranslated(connection.sync_connection):
            [stored] = (await connection.execute(RAW_EVENTS, {"ids": [event_id]})).mappings()
        envelope = replace(codec.from_row(stored), position=position)
        claim = Claim(envelope=envelope, handler=handler, attempt=1, lane=lane)
        token = current_context.set(claim.context)
        try:
            with kept_open(session, connection.sync_connection):
                await handlers[handler].run(claim, SimpleNamespace(session=session))
        finally:
            current_context.reset(token)
        this = row.event_id == event_id, row.handler == handler
        # not before the handler has returned: if it raises, its delivery is due as it was
        with untranslated(connection.sync_connection):
            await connection.execute(claimed(clock, "deliver_due", LEASE_SECONDS).update(*this))
            await connection.execute(done(clock, LEASE_SECONDS).update(*this))
            if lane:
                place = LanePosition(lane, position, event_id, handler)
                await connection.execute(unblocking(clock), place._asdict())
        count += 1


def refuse_commit(session: Session) -> None:
    """Refuse a commit, which would commit nothing; the end of a savepoint is none.

    :raises WiringError: always, but for a savepoint
    """
    if not session.in_nested_transaction():
        raise WiringError(f"leave it out of handlers: {INSTEAD}", "session.commit()")


def _refuse_commit_of(connection: Connection) -> None:
    """Refuse the commit of a connection, which would be one without the delivery."""
    raise WiringError(f"leave it out of handlers: {INSTEAD}", "connection.commit()")


def _only(
    ours: Connection | None, get_bind: Callable[..., Bind], *args: Any, **options: Any
) -> Bind:
    """Return the connection of the delivery; another one would be committed by nobody."""
    if (found := get_bind(*args, **options)) is not ours:
        problem = "the sessions of handlers have one connection, so make them without binds, for"
        raise WiringError(problem, shown(found.engine.url))
    return found


async def _refuse(call: str, instead: str) -> None:
    raise WiringError(f"leave it out of handlers: {instead}", call)
