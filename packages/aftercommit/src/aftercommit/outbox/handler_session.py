"""The session of a handler: that of the application, in the transaction of the engine."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit.claims import Claim, WorkItem
from aftercommit.errors import WiringError
from aftercommit.outbox.recorded_lanes import has_recorded, take_places
from aftercommit.sql.outbox import SqlAlchemyOutbox
from aftercommit.sql.transaction import Refusals, Transaction
from aftercommit.sql.unit_of_work import SqlAlchemyUnitOfWorkScope, open_unit_of_work

Bind = Engine | Connection
INSTEAD = "what they did is committed when they have returned"
NOT_IN_HANDLERS = {
    "rollback": "what they did is rolled back if they raise",
    "close": "it is closed when they have returned",
}


@asynccontextmanager
async def open_session(
    outbox: SqlAlchemyOutbox, new_session: Callable[..., AsyncSession], work: WorkItem
) -> AsyncIterator[SqlAlchemyUnitOfWorkScope]:
    """Open the transaction of one attempt, with a session for its handler.

    :raises TransientError: if the database is locked or away, whatever SQLAlchemy calls that
    """
    try:
        with ExitStack() as kept:
            lane = work.lane if isinstance(work, Claim) else None
            new_uow = partial(SessionUnitOfWork, new_session, kept, lane)
            async with open_unit_of_work(outbox, new_uow, work) as scope:
                yield scope
    except SQLAlchemyError as error:
        if (meaning := outbox.database.backend.translate(error)) is error:
            raise
        raise meaning from error


class SessionUnitOfWork:
    """What a handler that asks for `session` works in."""

    def __init__(
        self,
        new_session: Callable[..., AsyncSession],
        kept: ExitStack,
        lane: str | None,
        transaction: Transaction,
    ) -> None:
        connection = transaction.connection.sync_connection
        self.session = new_session(bind=transaction.connection)
        sync = self.session.sync_session
        sync.get_bind = partial(_only, connection, sync.get_bind)  # type: ignore[method-assign]
        self._kept, self._lane, self._transaction = kept, lane, transaction
        kept.enter_context(kept_open(self.session, connection))

    async def before_commit(self) -> None:
        """Write what the handler has changed, if it has left the transaction open.

        :raises WiringError: if it has not, so that what it did before would be lost
        """
        self._kept.close()
        await self.session.flush()
        connection = self._transaction.connection.sync_connection
        if connection and has_recorded(connection):
            await self._transaction.run_sync(partial(take_places, others=[self._lane]))

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return no rule: what a violated constraint means is seen by nobody."""
        return {}


@contextmanager
def kept_open(session: AsyncSession, connection: Connection | None) -> Iterator[None]:
    """Refuse whatever ends the transaction of a session, while its handlers run in it.

    :raises WiringError: at its end, if the transaction was ended all the same
    """
    sync, begun = session.sync_session, connection and connection.get_transaction()
    for name, instead in NOT_IN_HANDLERS.items():
        setattr(session, name, partial(_refuse, f"session.{name}()", instead))
    event.listen(sync, "before_commit", refuse_commit)
    event.listen(connection, "commit", _refuse_commit_of)
    try:
        yield
        if connection and connection.get_transaction() is not begun:
            problem = "a handler has ended its transaction, by its connection, or by an error"
            raise WiringError(problem, "begin_nested() is for what may fail")
    finally:
        event.remove(connection, "commit", _refuse_commit_of)
        event.remove(sync, "before_commit", refuse_commit)
        for name in NOT_IN_HANDLERS:
            delattr(session, name)


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
        raise WiringError(problem, str(found.engine.url))
    return found


async def _refuse(call: str, instead: str) -> None:
    raise WiringError(f"leave it out of handlers: {instead}", call)
