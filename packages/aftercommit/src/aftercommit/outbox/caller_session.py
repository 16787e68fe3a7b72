"""What an application records in sessions of its own, and what these sessions have to be like."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import getpid
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from aftercommit.claims import NewDelivery
from aftercommit.codec import Data
from aftercommit.database.database_url import shown
from aftercommit.envelopes import MessageContext, current_context
from aftercommit.errors import InvalidValue, WiringError
from aftercommit.giving_up import Reason
from aftercommit.outbox.handler_session import WRITE, DueInSession, refuse_commit
from aftercommit.outbox.lanes_at_commit import place_at_commit
from aftercommit.outbox.outbox_app import OutboxApp
from aftercommit.outbox.session_database import CallerDatabase, check_engine, known_database
from aftercommit.outbox.translated_schemas import untranslated
from aftercommit.outbox.worker_thread import refuse_forked
from aftercommit.outbox.workers_here import RECORDED, WorkersHere

logger = logging.getLogger(__name__)

NOTED = "aftercommit_messages"  # in `session.info`: which message was noted in which transaction
NO_IDS = bytes, bytearray, list, tuple, set, frozenset, dict


class CallerSessions:
    """The sessions of an application: everything recorded in them goes through here.

    Each commit of something recorded wakes the workers of this process.
    """

    def __init__(self, app: OutboxApp, workers: WorkersHere) -> None:
        self._app, self._workers, self._after_commit = app, workers, workers.wake
        self._known = dict[tuple[sa.URL, bool], CallerDatabase]()

    def record(self, session: Session, events: Sequence[object], about: object) -> None:
        """Store events, with a delivery for each of their handlers: see `Outbox.record`.

        :raises CausationTooDeep: if a chain of `MAX_DEPTH` events led to them
        """
        if about is None:
            raise InvalidValue(
                "about", "is None; if the database generates the id, call flush() first"
            )
        subject = text_of("about", about)
        connection, database = self.connection(session)
        context = current_context.get() or cause_of(session, self._app)
        rows, new = self._written([(each, subject) for each in events], context)
        if rows:
            with untranslated(connection):
                stored = database.new_events.store(connection, rows, new)
            if stored.unplaced:
                place_at_commit(connection, database.lock_lanes, stored.unplaced)
        session.info[RECORDED] = connection
        if not event.contains(session, "after_commit", self._after_commit):
            event.listen(session, "after_commit", self._after_commit)
            event.listen(session, "before_commit", ensure_one_writer)

    def _written(
        self, recorded: Sequence[tuple[object, str]], context: MessageContext | None
    ) -> tuple[list[Data], list[NewDelivery]]:
        """Return the rows of events, given with their subjects, and of their deliveries."""
        envelopes, types = self._app.envelopes, [type(each) for each, _ in recorded]
        if strange := [repr(each) for each, _ in recorded if isinstance(each, type | list)]:
            problem = "record takes events as separate arguments, such as OrderPlaced(7), not"
            raise WiringError(problem, *strange)
        if unknown := [each.__name__ for each in types if each not in envelopes.subscriptions]:
            problem = f"events have no entry: add on({', '.join(unknown)}, …) to the outbox"
            raise WiringError(problem, *unknown)
        if context is None:  # a trace begins
            first = self._app.sources.new_id()
            context = MessageContext(correlation_id=first, causation_id=first)
        made, new = envelopes.of_events(recorded, context)
        rows = [envelopes.codec.to_row(envelope) for envelope in made]
        for row in rows:  # what could not be read is refused while the caller can still correct it
            envelopes.codec.from_row(row)
        return rows, new

    def once(self, session: Session, source: str, message_id: str | UUID) -> bool:
        """Note a message; return whether it is new: see `Outbox.once`."""
        for what, value in {"source": source, "message_id": message_id}.items():
            if value in (None, ""):
                raise InvalidValue(
                    what, f"is {value!r}, which does not distinguish this message from others"
                )
        text = {"source": text_of("source", source)}
        text["message_id"] = text_of("message_id", message_id)
        connection, database = self.connection(session)
        this = self._app.sources.new_id()
        context = current_context.get() or MessageContext(correlation_id=this, causation_id=this)
        row = {"id": this, "type": "message", "correlation_id": context.correlation_id} | text
        with untranslated(connection):
            is_new = connection.execute(database.note, row).first() is not None
        remember_message(session, self._app, context if is_new else None)
        return is_new

    def due(
        self, session: Session, after: timedelta, giving_up: Mapping[str, Reason]
    ) -> DueInSession:
        """Return what is due in a session, in a test: see `Outbox.deliver`."""
        app, clock = self._app, self.connection(session)[1].clock
        return DueInSession(session, app.envelopes, app.bound, clock, after, giving_up)

    def connection(self, session: Session) -> tuple[sa.Connection, CallerDatabase]:
        """Return the connection over which a session writes to the tables of the outbox.

        :raises WiringError: if it has none for these tables, if it could not be rolled back, or if
            the worker uses another database
        :raises DatabaseUnavailable: if the tables are missing
        """
        wakers = [*self._workers.wakers]
        if wakers and {process for process, _ in wakers} != {getpid()}:
            refuse_forked(session)
        try:  # a session with several connections chooses by the statement; this is no query
            connection = session.connection(bind_arguments={"clause": WRITE})
        except UnboundExecutionError as error:
            problem = (
                "the session has no engine for the tables of the outbox; add one to it, next to"
            )
            raise WiringError(problem, "binds") from error
        driver: Any = connection.connection
        is_autocommit = (
            connection.dialect.detect_autocommit_setting(driver.dbapi_connection)
            or getattr(driver.dbapi_connection, "autocommit", False) is True  # of Python 3.12
        )
        if is_autocommit and connection.dialect.name == "sqlite":
            sqlite3 = driver.driver_connection  # or a listener of the application emits BEGIN
            if not sqlite3.in_transaction:
                connection.exec_driver_sql("SELECT 1")  # `sqlalchemy_anyio` has deferred the BEGIN
            is_autocommit = not sqlite3.in_transaction
        if is_autocommit:
            problem = "record needs a transaction; this session commits each statement by itself"
            raise WiringError(problem, "AUTOCOMMIT")
        of_handler = event.contains(session, "before_commit", refuse_commit)
        key = connection.engine.url, of_handler
        if (database := self._known.get(key)) is None:
            if not of_handler:  # that connection is the worker's own
                with untranslated(connection):
                    check_engine(connection, self._app)
            database = self._known[key] = known_database(connection, self._app)
        return connection, database


def expect_async(session: object, name: str) -> AsyncSession:
    """Refuse a session of synchronous code, and name the method for it."""
    given = session() if isinstance(session, async_scoped_session) else session
    if not isinstance(given, AsyncSession):
        problem = f"{name} needs an AsyncSession; for a Session there is {name}_sync. It is"
        raise WiringError(problem, repr(session))
    return given


def expect_sync(session: object, name: str) -> Session:
    """Refuse an asynchronous session in the same way."""
    given = session() if isinstance(session, scoped_session) else session
    if not isinstance(given, Session):
        problem = f"{name}_sync needs a Session; for an AsyncSession there is {name}. It is"
        raise WiringError(problem, repr(session))
    return given


MOST_BYTES = 1_000  # of an id: PostgreSQL's index takes 2704 for two of them


def text_of(what: str, value: object) -> str:
    """Return an id as the text that is stored.

    :raises InvalidValue: if it is empty, if it is no id, if databases cannot store it, or if it is
        longer than a thousand bytes
    """
    text = str(value)
    if isinstance(value, NO_IDS) or not text:
        raise InvalidValue(what, f"is {value!r}, but has to be an id, or the text of one")
    if "\0" in text or text.encode(errors="replace") != text.encode(errors="surrogatepass"):
        raise InvalidValue(what, f"is {value!r}, which databases cannot store")
    if (size := len(text.encode())) > MOST_BYTES:
        raise InvalidValue(what, f"has {size:,} bytes, and may have {MOST_BYTES}")
    return text


def ensure_one_writer(session: Session) -> None:
    """Refuse to commit if another connection than the events' has written.

    Each connection is committed by itself, so if one of two fails, an event could be stored without
    its change, or the change without the event. Connections that have only read do no harm.

    :raises WiringError: if another connection of the session has written
    """
    if session.in_nested_transaction() or session.twophase:
        return
    session.flush()  # what follows is the commit; it may need another connection
    transaction: Any = session.get_transaction()
    connections = {each for each, *_ in transaction._connections.values()}  # there is no public way
    ours: Any = session.info.get(RECORDED)
    if ours not in connections:  # what was recorded was rolled back
        return
    others = connections - {ours}
    if written := [shown(each.engine.url) for each in others if _has_written(each)]:
        problem = "two connections have written in one transaction of a session that records"
        raise WiringError(problem, *written, shown(ours.engine.url))


def _has_written(connection: sa.Connection) -> bool:
    """Query the server whether something was written, or a row locked.

    Other databases do not tell. There, a transaction that has begun proves nothing, so there is
    only a warning.
    """
    if connection.dialect.name == "postgresql":
        asked = sa.select(sa.func.pg_current_xact_id_if_assigned().is_not(None))
        return bool(connection.execute(asked).scalar())
    driver: Any = connection.connection.driver_connection
    if getattr(driver, "in_transaction", True):
        logger.warning(
            "a session with recorded events has begun a transaction in %s, too; "
            "if it has written there, a crash in between can keep one and lose the other",
            shown(connection.engine.url),
        )
    return False


def remember_message(session: Session, app: OutboxApp, context: MessageContext | None) -> None:
    """Remember the context of a message that was noted in a session; None if it is not new."""
    noted, transaction = session.info.setdefault(NOTED, []), session.get_transaction()
    noted[:] = [each for each in noted if transaction in each[1]]  # others are committed
    noted.append((app, _transactions(session), context))
    if not event.contains(session, "after_soft_rollback", _forget_messages):
        event.listen(session, "after_soft_rollback", _forget_messages)


def cause_of(session: Session, app: OutboxApp) -> MessageContext | None:
    """Return the context of the message noted last in this transaction, if it is new."""
    noted, transaction = session.info.get(NOTED, []), session.get_transaction()
    noted[:] = [each for each in noted if transaction in each[1]]  # others are committed
    return next((context for of, _, context in reversed(noted) if of is app), None)


def _forget_messages(session: Session, ended: SessionTransaction) -> None:
    """Forget the messages that a rollback, perhaps to a savepoint, has undone."""
    noted = session.info[NOTED]
    noted[:] = [each for each in noted if ended not in each[1]]


def _transactions(session: Session) -> list[SessionTransaction]:
    """Return the transaction of a session, and the savepoints in which it is."""
    found, this = [], session.get_nested_transaction() or session.get_transaction()
    while this is not None:
        found.append(this)
        this = this.parent
    return found
