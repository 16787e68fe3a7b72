"""The session of a handler: the application's kind of session, in the engine's transaction.

In tests, it may be in a transaction of the application: `DueInSession`.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit.claims import Claim, WorkItem
from aftercommit.database.connection_guard import (
    ENDED,
    INSTEAD,
    SAVEPOINTS,
    HandlerGuard,
    in_transaction,
)
from aftercommit.database.database_url import shown
from aftercommit.database.transaction import Refusals, Transaction
from aftercommit.deliveries.claim_statement import first_of_each, handler_params, union_of
from aftercommit.deliveries.lanes import LanePosition, unblocking
from aftercommit.deliveries.states import aged, claimed, done, given_up
from aftercommit.deliveries.store import SqlAlchemyDeliveryStore
from aftercommit.deliveries.tables import RAW_EVENTS, deliveries, events
from aftercommit.deliveries.unit_of_work_scope import SqlAlchemyUnitOfWorkScope, open_unit_of_work
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import current_context
from aftercommit.errors import WiringError, raise_if_any
from aftercommit.giving_up import GivenUp, Reason
from aftercommit.handler_binding import BoundHandler, BoundHandlers
from aftercommit.outbox.lanes_at_commit import has_recorded, take_places
from aftercommit.outbox.translated_schemas import translate_for_handler, untranslated

LEASE_SECONDS = 30.0  # of a claim in a test
NO_TIME = timedelta()
PASSED = "aftercommit_passed"  # in a session's `info`: the time that a test has let pass
AS_IN_A_TEST: Mapping[Reason, GivenUp] = {
    "refused": GivenUp("refused", "refused", 1),
    "attempts": GivenUp("attempts", "defect", 1),
    "too late": GivenUp("too late", None, 0),
    "unfinished": GivenUp("unfinished", None, 1),
}
WRITE = sa.update(events)  # which routing sessions look at: they read over another connection

Bind = Engine | Connection
Clock = sa.ColumnElement[float]
NOT_IN_HANDLERS = {
    "rollback": "the work of a handler is rolled back if it raises",
    "close": "the session is closed after the handler",
    "reset": "the session is closed after the handler",
    "invalidate": "the delivery uses the same connection",
}


@asynccontextmanager
async def open_session(
    delivery_store: SqlAlchemyDeliveryStore,
    new_session: Callable[..., AsyncSession],
    work: WorkItem,
) -> AsyncIterator[SqlAlchemyUnitOfWorkScope]:
    """Open the transaction of one attempt, with a session for its handler.

    :raises TransientError: if the database is locked or down, whatever SQLAlchemy raises
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
    """The transaction of a handler that asks for `session`."""

    def __init__(self, new_session: Callable[..., AsyncSession], transaction: Transaction) -> None:
        self.session = new_session(bind=transaction.connection)
        sync = self.session.sync_session  # for handlers made with `def`
        connection = transaction.connection.sync_connection
        only = partial(_only, transaction.guard, connection, sync.get_bind)
        sync.get_bind = only  # type: ignore[method-assign]
        sync.twophase = False  # it joins a transaction instead of beginning one
        if not sync.autobegin:
            sync.begin()
        _refuse_ends(sync)
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
        """Return no rules: an outbox does not translate violated constraints."""
        return {}


def _refuse_ends(session: Session) -> None:
    """Refuse calls that end the transaction of a session, also by the `AsyncSession` around it."""
    for name, instead in NOT_IN_HANDLERS.items():
        setattr(session, name, partial(_refuse, f"session.{name}()", instead))
    event.listen(session, "before_commit", refuse_commit)


@contextmanager
def kept_open(session: Session, connection: Connection) -> Iterator[None]:
    """Refuse calls that end the transaction of a session while handlers run in it.

    :raises WiringError: at its end, if the transaction was ended nevertheless
    """
    begun, driver = connection.get_transaction(), connection.connection.driver_connection
    was_in_transaction = in_transaction(driver)
    _refuse_ends(session)
    event.listen(connection, "commit", _refuse_commit_of)
    try:
        yield
        has_ended = was_in_transaction and not in_transaction(driver)
        if connection.get_transaction() is not begun or has_ended:
            raise WiringError(ENDED, SAVEPOINTS)
    finally:
        event.remove(connection, "commit", _refuse_commit_of)
        event.remove(session, "before_commit", refuse_commit)
        for name in NOT_IN_HANDLERS:
            delattr(session, name)


class DueInSession:
    """The due deliveries in an application's session: each `take` is followed by a `complete`."""

    def __init__(
        self,
        session: Session,
        envelopes: EnvelopeFactory,
        bound: BoundHandlers,
        clock: Clock,
        after: timedelta,
        giving_up: Mapping[str, Reason],
    ) -> None:
        self.session, self._envelopes, self._handlers = session, envelopes, bound.events
        self._instead, self._giving_up = bound.instead, giving_up
        problem = "only handlers in an Otherwise can be given up. Not so"
        raise_if_any(problem, {*giving_up} - bound.instead.keys())
        problem = f"a handler is given up for one of the reasons {', '.join(AS_IN_A_TEST)}; not for"
        raise_if_any(problem, {*giving_up.values()} - AS_IN_A_TEST.keys())
        self.connection = session.connection(bind_arguments={"clause": WRITE})
        if after:
            with untranslated(self.connection):
                self.connection.execute(aged(after.total_seconds()).update())
        self.passed = session.info[PASSED] = session.info.get(PASSED, NO_TIME) + after
        self._clock, row = clock, deliveries.c
        key = row.event_id, row.handler, row.lane, row.position, row.available_at
        end = row.give_up_at <= clock, row.given_up, row.last_error
        count, is_due = len(bound.events), row.available_at <= clock
        firsts = first_of_each(envelopes.codec, count, False, *key, *end, which=is_due)
        self._first = union_of(firsts).order_by("available_at").limit(1)

    def take(self) -> Claim | None:
        """Return the next due delivery; None if there is none."""
        take_places(self.connection)
        with untranslated(self.connection):
            found = self.connection.execute(self._first, handler_params(self._handlers)).first()
        if found is None:
            return None
        event_id, handler, lane, position, _, is_late, why, last_error = found
        with untranslated(self.connection):
            [stored] = self.connection.execute(RAW_EVENTS, {"ids": [event_id]}).mappings()
        envelope = replace(self._envelopes.codec.from_row(stored), position=position)
        how = self._envelopes.subscriptions.get(type(envelope.event), {}).get(handler)
        begins = how is not None and how.begins_chain
        claim = Claim(envelope=envelope, handler=handler, attempt=1, lane=lane, begins_chain=begins)
        if why:
            return replace(claim, given_up=GivenUp.from_text(why), last_error=last_error)
        is_over = is_late and handler in self._instead
        if reason := self._giving_up.get(handler, "too late" if is_over else None):
            return replace(claim, given_up=AS_IN_A_TEST[reason])
        return claim

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator[BoundHandler]:
        """Return the handler; meanwhile, it can end neither the transaction nor the session."""
        token = current_context.set(claim.context)
        try:
            with kept_open(self.session, self.connection):
                yield (self._instead if claim.given_up else self._handlers)[claim.handler]
        finally:
            current_context.reset(token)

    def complete(self, claim: Claim) -> None:
        """Mark a delivery as done. If its handler has raised, it stays due."""
        clock, row, event_id = self._clock, deliveries.c, claim.envelope.id
        this = row.event_id == event_id, row.handler == claim.handler
        with untranslated(self.connection):
            self.connection.execute(claimed(clock, "deliver_due", LEASE_SECONDS).update(*this))
            if claim.given_up:
                error, why = claim.last_error or "", claim.given_up.text
                self.connection.execute(given_up(clock, error, why).update(*this))
            self.connection.execute(done(clock, LEASE_SECONDS).update(*this))
            if claim.lane and (position := claim.envelope.position) is not None:
                place = LanePosition(claim.lane, position, event_id, claim.handler)
                self.connection.execute(unblocking(clock), place._asdict())


def refuse_commit(session: Session) -> None:
    """Refuse a commit, which would commit nothing; the end of a savepoint is allowed.

    :raises WiringError: always, but for a savepoint
    """
    if not session.in_nested_transaction():
        raise WiringError(f"leave it out of handlers: {INSTEAD}", "session.commit()")


def _refuse_commit_of(connection: Connection) -> None:
    """Refuse to commit the connection, which would leave the delivery out."""
    raise WiringError(f"leave it out of handlers: {INSTEAD}", "connection.commit()")


def _only(
    guard: HandlerGuard | None,
    ours: Connection | None,
    get_bind: Callable[..., Bind],
    *args: Any,
    **options: Any,
) -> Bind:
    """Return the delivery's connection; nobody would commit another one."""
    if guard:  # before a driver creates a cursor, for which nobody would wait
        guard.ensure_open()
    if (found := get_bind(*args, **options)) is not ours:
        problem = "the sessions of handlers have one connection, so make them without binds, for"
        raise WiringError(problem, shown(found.engine.url))
    return found


def _refuse(call: str, instead: str) -> None:
    raise WiringError(f"leave it out of handlers: {instead}", call)
