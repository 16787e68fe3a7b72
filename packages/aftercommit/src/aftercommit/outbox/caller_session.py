"""A session of the application: whether what is recorded in it can be stored, and delivered."""

import logging
import os
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

from aftercommit.envelopes import MessageContext
from aftercommit.errors import InvalidValue, WiringError
from aftercommit.outbox.app import OutboxApp
from aftercommit.sql.database_url import parse_url, shown
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.schema import owner_of
from aftercommit.sql.tables import events

logger = logging.getLogger(__name__)

NO_TABLES = (
    "it has not the tables of the outbox: running() makes them, and so does "
    '"aftercommit db upgrade MODULE:NAME", where MODULE:NAME names the outbox'
)
RECORDED = "aftercommit_connection"  # in `session.info`: over which connection it has recorded
WRITE = sa.update(events)  # what routing sessions look at: they read over another connection
NOTED = "aftercommit_messages"  # there, too: what was noted in which transaction
NO_IDS = bytes, bytearray, list, tuple, set, frozenset, dict


def expect_async(session: object, name: str, *, for_sync: str = "") -> AsyncSession:
    """Refuse a session of synchronous code, in words that say what there is for it, if anything."""
    given = session() if isinstance(session, async_scoped_session) else session
    if not isinstance(given, AsyncSession):
        instead = for_sync and f"; for a Session there is {for_sync}"
        problem = f"{name} needs an AsyncSession{instead}. It is"
        raise WiringError(problem, repr(session))
    return given


def expect_sync(session: object, name: str) -> Session:
    """Refuse an asynchronous one in the same way."""
    given = session() if isinstance(session, scoped_session) else session
    if not isinstance(given, Session):
        problem = f"{name}_sync needs a Session; for an AsyncSession there is {name}. It is"
        raise WiringError(problem, repr(session))
    return given


def text_of(what: str, value: object) -> str:
    """Return an id as the text that is stored.

    :raises InvalidValue: if it is empty, or no id, or no database can store it
    """
    text = str(value)
    if isinstance(value, NO_IDS) or not text:
        raise InvalidValue(what, f"is {value!r}; it is an id, or the text of one")
    if "\0" in text or text.encode(errors="replace") != text.encode(errors="surrogatepass"):
        raise InvalidValue(what, f"is {value!r}, which no database can store")
    return text


def check_engine(connection: sa.Connection, app: OutboxApp) -> None:
    """Compare the engine of a session with what the worker uses, and look for our tables.

    :raises WiringError: if it is that of another database: nobody would look there
    :raises DatabaseUnavailable: if nobody has made them yet
    :raises SchemaOfAnother: if they are those of another application: its worker knows no others
    """
    ours, theirs = parse_url(app.load({}).database_url), connection.engine.url
    if _place(ours) != _place(theirs):
        both = shown(theirs.set(drivername=theirs.get_backend_name())), shown(ours)
        raise WiringError("the sessions and the outbox have two databases", *both)
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


def connection_of(session: Session) -> sa.Connection:
    """Return the connection over which a session writes to the tables of the outbox.

    :raises WiringError: if it has none for them, or nothing of it could be rolled back
    """
    try:  # a session that has several goes by the statement: this is no query
        connection = session.connection(bind_arguments={"clause": WRITE})
    except UnboundExecutionError as error:
        problem = "the session has no engine for the tables of the outbox; give it one besides"
        raise WiringError(problem, "binds") from error
    _refuse_autocommit(connection)
    return connection


def _refuse_autocommit(connection: sa.Connection) -> None:
    """Refuse a connection on which nothing can be rolled back, whoever has said so.

    :raises WiringError: if each statement is committed by itself
    """
    driver: Any = connection.connection
    is_refused = (
        connection._is_autocommit_isolation()  # no public way costs no statement
        or getattr(driver.dbapi_connection, "autocommit", False) is True
        or (connection.dialect.name == "sqlite" and not _has_begun(connection))
    )
    if is_refused:
        problem = (
            "sessions that record need transactions; this one commits each statement by itself"
        )
        raise WiringError(problem, "AUTOCOMMIT")


def _has_begun(connection: sa.Connection) -> bool:
    """Tell whether a connection to SQLite is in a transaction, or its driver begins one."""
    driver: Any = connection.connection.driver_connection
    if driver.isolation_level is not None or driver.in_transaction:
        return True
    connection.exec_driver_sql("SELECT 1")  # sends a BEGIN that `sqlalchemy_anyio` has deferred
    return bool(driver.in_transaction)


def ensure_one_writer(session: Session) -> None:
    """Refuse to commit what was written over another connection than the events.

    Each connection is committed by itself, so one of two that fails would leave an event without
    what it is about, or that without the event. Those that have only read do no harm.

    :raises WiringError: if another connection of the session has written
    """
    if session.in_nested_transaction() or session.twophase:
        return
    session.flush()  # what follows is the commit; it may need another connection
    transaction: Any = session.get_transaction()
    connections = {each for each, *_ in transaction._connections.values()}  # no public way
    ours: Any = session.info.get(RECORDED)
    if ours not in connections:  # what was recorded was rolled back
        return
    others = connections - {ours}
    if written := [shown(each.engine.url) for each in others if _has_written(each)]:
        problem = "two connections have written in one transaction of a session that records"
        raise WiringError(problem, *written, shown(ours.engine.url))


def _has_written(connection: sa.Connection) -> bool:
    """Ask the server whether something has been written, or a row locked.

    Others do not say. There, to have begun is no proof: a warning has to do.
    """
    if connection._is_autocommit_isolation():
        return False
    if connection.dialect.name == "postgresql":
        asked = sa.select(sa.func.pg_current_xact_id_if_assigned().is_not(None))
        return bool(connection.execute(asked).scalar())
    driver: Any = connection.connection.driver_connection
    if getattr(driver, "in_transaction", True):
        logger.warning(
            "a session that has recorded has begun a transaction in %s, too; "
            "if it has written there, a crash in between can keep one and lose the other",
            shown(connection.engine.url),
        )
    return False


def remember_message(session: Session, app: OutboxApp, context: MessageContext | None) -> None:
    """Remember the context of a message that was noted in a session; None: it is not new."""
    noted = session.info.setdefault(NOTED, [])
    noted.append((app, _transactions(session), context))
    if not event.contains(session, "after_soft_rollback", _forget_messages):
        event.listen(session, "after_soft_rollback", _forget_messages)


def cause_of(session: Session, app: OutboxApp) -> MessageContext | None:
    """Return the context of the message that was noted last in this transaction, if it is new."""
    noted, transaction = session.info.get(NOTED, []), session.get_transaction()
    noted[:] = [each for each in noted if transaction in each[1]]  # others were committed
    return next((context for of, _, context in reversed(noted) if of is app), None)


def _forget_messages(session: Session, ended: SessionTransaction) -> None:
    """Forget the messages that a rollback, perhaps to a savepoint, has taken back."""
    noted = session.info[NOTED]
    noted[:] = [each for each in noted if ended not in each[1]]


def _transactions(session: Session) -> list[SessionTransaction]:
    """Return the transaction of a session, and the savepoints it is in."""
    found, this = [], session.get_nested_transaction() or session.get_transaction()
    while this is not None:
        found.append(this)
        this = this.parent
    return found
