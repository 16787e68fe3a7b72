"""Units of work that share one transaction: a commit for many commands costs as much as for one.

They follow one another. What one has written, the next one sees; on the way to the database it is
gathered, so that a hundred users are one statement, and a hundred events are, too.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.util import identity_key
from sqlalchemy.sql import Executable

from allocation.adapters.database import Database, Session
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.service_layer.delivery import DeliveryPolicy, Trigger
from allocation.service_layer.envelopes import EnvelopeFactory
from allocation.service_layer.exceptions import ConcurrentUpdate
from allocation.service_layer.unit_of_work import NewUnitOfWork

T = TypeVar("T")


class Sharing:
    """Makes units of work in a database, and lets some of them share one transaction."""

    def __init__(
        self, database: Database, policy: DeliveryPolicy, factory: EnvelopeFactory
    ) -> None:
        self._database = database
        outbox = SqlAlchemyOutbox(database, policy)
        self.new_uow = partial(SqlAlchemyUnitOfWork, database, outbox, factory)
        self._new_sharing_uow = partial(_SharingUnitOfWork, database, outbox, factory)

    @asynccontextmanager
    async def one_transaction(self) -> AsyncIterator[NewUnitOfWork]:
        """Yield what makes units of work, one at a time, that are committed at the end: all or none.

        If one of them is not committed, or the block is left with an error, all are rolled back.
        What each of them says of itself, `committed` and `events`, is true after the block only.

        :raises ConcurrentUpdate: if they cannot be committed together; each alone may succeed
        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        async with self._database.writing() as session:
            shared = _SharedSession(session)
            yield partial(self._new_sharing_uow, shared=shared)
            await shared.write_out()
            await session.commit()


class _SharedSession(Session):
    """One transaction as each of its units of work sees it: written out when somebody has to know.

    Gathering changes the order of statements, never what is read: before any query all that was
    gathered is written.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session._session, session._connection, session._kind, session.driver)
        self.add, self.add_all = self._add, self._add_all
        self._gathered: dict[Executable, list[Any]] = {}
        self._added: set[Any] = set()
        self._flushed = 0
        self._is_whole = True

    @asynccontextmanager
    async def for_one(self) -> AsyncIterator[Session]:
        """Lend it to a unit of work.

        :raises ConcurrentUpdate: if the one before was not committed: what it left is in the way
        """
        if not self._is_whole:
            raise ConcurrentUpdate
        self._is_whole = False
        yield self

    async def commit(self) -> None:
        """Note that a unit of work is whole."""
        self._is_whole = True

    async def write_out(self) -> None:
        """Write all that was gathered."""
        if not self._is_whole:
            raise ConcurrentUpdate
        await self._write_out()

    async def _write_out(self) -> None:
        try:
            await super().flush()
            for statement, rows in self._gathered.items():
                await super().execute(statement, rows or None)
        except IntegrityError as error:
            raise ConcurrentUpdate from error
        self._gathered, self._added, self._flushed = {}, set(), 0
