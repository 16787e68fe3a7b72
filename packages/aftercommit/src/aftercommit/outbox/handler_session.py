"""The session of a handler: that of the application, in the transaction of the engine."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit.claims import WorkItem
from aftercommit.errors import WiringError
from aftercommit.sql.outbox import SqlAlchemyOutbox
from aftercommit.sql.transaction import Refusals, Transaction
from aftercommit.sql.unit_of_work import SqlAlchemyUnitOfWorkScope, open_unit_of_work

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
        async with open_unit_of_work(
            outbox, partial(SessionUnitOfWork, new_session), work
        ) as scope:
            yield scope
    except SQLAlchemyError as error:
        if (meaning := outbox.database.backend.translate(error)) is error:
            raise
        raise meaning from error


class SessionUnitOfWork:
    """What a handler that asks for `session` works in."""

    def __init__(self, new_session: Callable[..., AsyncSession], transaction: Transaction) -> None:
        self.session = new_session(bind=transaction.connection)
        for name, instead in NOT_IN_HANDLERS.items():
            setattr(self.session, name, partial(_refuse, f"session.{name}()", instead))
        event.listen(self.session.sync_session, "before_commit", refuse_commit)

    async def before_commit(self) -> None:
        """Write what the handler has changed."""
        await self.session.flush()

    def refusals(self, seen: Sequence[object]) -> Refusals:
        """Return no rule: what a violated constraint means is seen by nobody."""
        return {}


def refuse_commit(session: Session) -> None:
    """Refuse a commit, which would commit nothing; the end of a savepoint is none.

    :raises WiringError: always, but for a savepoint
    """
    if not session.in_nested_transaction():
        instead = "what they did is committed when they have returned"
        raise WiringError(f"leave it out of handlers: {instead}", "session.commit()")


async def _refuse(call: str, instead: str) -> None:
    raise WiringError(f"leave it out of handlers: {instead}", call)
