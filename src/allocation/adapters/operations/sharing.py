"""Units of work that share one transaction: a commit for many commands costs as much as for one.

They follow one another. What one has written, the next one sees; on the way to the database it is
gathered, so that a hundred users are one statement, and a hundred events are, too.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Result, Select, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.util import identity_key
from sqlalchemy.sql import Executable

from allocation.adapters.database import Database, Session
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.domain.events import UserId
from allocation.domain.model import User
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
        self.new_uow = partial(SqlAlchemyUnitOfWork, outbox, factory)
        self._new_sharing_uow = partial(_SharingUnitOfWork, outbox, factory)

    @asynccontextmanager
    async def one_transaction(self, *, users: Collection[UserId]) -> AsyncIterator[NewUnitOfWork]:
        """Yield what makes units of work, one at a time, which the end commits: all or none.

        If one of them is not committed, or the block is left with an error, all are rolled back.
        What each of them says of itself, `committed` and `events`, is true after the block only.
        These users, who will be asked for, are loaded with one query.

        :raises ConcurrentUpdate: if they cannot be committed together; each alone may succeed
        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        async with self._database.writing() as session:
            shared = _SharedSession(session)
            await shared.look_ahead(User, users)
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
        self.add = self._add
        self._gathered: dict[Executable, list[Any]] = {}
        self._ahead: Sequence[object] = ()
        self._absent: set[Any] = set()
        self._added: set[Any] = set()
        self._of_one: list[object] = []  # what the unit of work has added or loaded
        self._flushed: list[tuple[object, dict[str, Any]]] = []
        self._is_whole = True

    async def look_ahead(self, entity: type[T], keys: Collection[Any]) -> None:
        """Load those of these keys that there are, and remember that the others are absent."""
        (primary_key,) = inspect(entity, raiseerr=True).primary_key
        these = select(entity).where(primary_key.in_(keys))
        self._ahead = (await self.driver.call(self._session.scalars, these)).all()
        there = {identity_key(instance=found) for found in self._ahead}
        self._absent = {identity_key(entity, key) for key in keys} - there

    @asynccontextmanager
    async def for_one(self) -> AsyncIterator[Session]:
        """Lend it to a unit of work.

        :raises ConcurrentUpdate: if the one before was not committed: what it left is in the way
        """
        if not self._is_whole:
            raise ConcurrentUpdate
        self._is_whole, self._of_one = False, []
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
            self._flushed = self._states()  # a flush by a refresh is no work after the commit
            for statement, rows in self._gathered.items():
                await super().execute(statement, rows or None)
        except IntegrityError as error:
            raise ConcurrentUpdate from error
        self._absent -= self._added
        self._gathered, self._added = {}, set()

    async def get(self, entity: type[T], key: object) -> T | None:
        identity = identity_key(entity, key)
        if identity in self._added:
            await self._write_out()
        elif identity in self._absent:
            return None
        return self._known(await super().get(entity, key))

    async def load(self, statement: Select[T]) -> T | None:
        await self._write_out()
        return self._known(await super().load(statement))

    async def execute(self, statement: Executable, rows: Any = None) -> Result[Any]:
        await self._write_out()
        return await super().execute(statement, rows)

    async def execute_by_commit(self, statement: Executable, rows: Any = None) -> None:
        self._gathered.setdefault(statement, []).extend(rows or ())

    async def execute_if_needed(self, statement: Executable | None) -> None:
        if statement is not None:
            await self.execute_by_commit(statement)

    async def flush(self) -> None:
        self._flushed = self._states()

    def has_unwritten_work(self) -> bool:
        return self._states() != self._flushed

    def _states(self) -> list[tuple[object, dict[str, Any]]]:
        return [(entity, dict(vars(entity))) for entity in self._of_one]

    def _known(self, entity: T | None) -> T | None:
        self._of_one += [entity] if entity else []
        return entity

    def _add(self, entity: object) -> None:
        self._session.add(self._known(entity))
        self._added.add(identity_key(instance=entity))


class _SharingUnitOfWork(SqlAlchemyUnitOfWork):
    def __init__(
        self,
        outbox: SqlAlchemyOutbox,
        factory: EnvelopeFactory,
        trigger: Trigger,
        *,
        shared: _SharedSession,
    ) -> None:
        super().__init__(outbox, factory, trigger)
        self._shared = shared

    def _transaction(self) -> AbstractAsyncContextManager[Session]:
        return self._shared.for_one()
