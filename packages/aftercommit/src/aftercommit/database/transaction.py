"""One transaction of the database, and what can be done in it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, cast
from uuid import UUID

import sqlalchemy as sa
from anyio import CancelScope
from sqlalchemy.exc import IntegrityError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import Executable

from aftercommit.database.aggregate_versions import SEEN, AggregateSession
from aftercommit.database.backend import DatabaseBackend
from aftercommit.database.connection_guard import HandlerGuard, in_transaction
from aftercommit.database.exceptions import CommitOutcomeUnknown, ConnectionLost
from aftercommit.errors import ConcurrentUpdate
from aftercommit.repository import Query

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STREAM_ROWS = 500

Refusals = Mapping[str, Exception]
"""What violated constraints mean, by their names.

>>> from aftercommit import Refusals
>>> from shop.domain.bases import RuleViolation
>>> class UnitOfWork:
...     def refusals(self, seen) -> Refusals:
...         return {"uq_orders_number": RuleViolation("there is an order of this number")}
"""


class Transaction:
    """One transaction: a connection of SQLAlchemy, with shielded driver calls.

    It has a session only if there are objects to load or to store, because creating one takes long.

    After any error, the transaction has failed, even if somebody catches the error: the commit
    raises it. A transaction that has ended can do nothing more.

    >>> import sqlalchemy as sa
    >>> from aftercommit import Transaction
    >>> from shop.adapters import orm
    >>> class Orders:  # a repository with a query of its own
    ...     def __init__(self, transaction: Transaction) -> None:
    ...         self._transaction = transaction
    ...     async def of(self, email):
    ...         this = sa.select(orm.orders).where(orm.orders.c.email == email)
    ...         return await self._transaction.execute(this)
    """

    def __init__(
        self, connection: AsyncConnection, backend: DatabaseBackend, new_id: Callable[[], UUID]
    ) -> None:
        self.connection = connection  # also for a session of others, whose calls are not shielded
        self.guard: HandlerGuard | None = None  # of the handler that uses the connection
        self.new_id = new_id  # for rows that the engine or an application adds
        self.seen: list[object] = []  # was added or loaded, in whatever way: see `SEEN`
        self.recorded: list[tuple[object, str]] = []  # events without an aggregate, with subjects
        self.has_written = False
        self.refusals: Callable[[Sequence[object]], Refusals] = lambda seen: {}
        self._backend, self._no_timeout = backend, False
        self._session: AsyncSession | None = None
        self._failure: Exception | None = None  # the first error
        self._afterwards = dict[Callable[[], None], None]()

    def _objects(self) -> AsyncSession:
        """Return the session, which is created at first use."""
        if self._session is None:
            self._session = AsyncSession(
                self.connection,
                sync_session_class=AggregateSession,
                expire_on_commit=False,
                autoflush=False,
                info={SEEN: self.seen},
            )
        return self._session

    def add(self, entity: object) -> None:
        """Add a new entity, to be stored with the commit."""
        self._objects().add(entity)

    def record(self, event: object, *, subject: object) -> None:
        """Store an event without an aggregate, with the commit; `subject` is what it is about."""
        self.recorded.append((event, str(subject)))

    def notify_workers(self) -> None:
        """Notify workers, when this is committed, that deliveries are due."""
        self.afterwards(self._backend.notify_workers)

    def afterwards(self, function: Callable[[], None]) -> None:
        """Call a function when this is committed, or when the outcome is unknown."""
        self._afterwards[function] = None

    async def get(self, entity: type[T], key: object, *, locked: bool = False) -> T | None:
        """Return the entity with this primary key, or None."""
        if not locked:
            return await self._call(self._objects().get, entity, key)
        await self.flush()  # or what was changed would be read as it was
        get = partial(self._objects().get, populate_existing=True, with_for_update=True)
        return await self._call(get, entity, key)

    async def matching(self, entity: type[T], query: Query[T]) -> Sequence[T]:
        """Return the entities that a query finds: see `Repository.matching`."""
        await self.flush()
        columns: Any = entity
        found = sa.select(entity).where(cast("Any", query.where(columns))).limit(query.limit)
        if query.order_by:
            keys: Any = query.order_by(columns)
            found = found.order_by(*(keys if isinstance(keys, tuple) else [keys]))
        if not query.locked:
            return await self.load_all(found)
        under_lock = found.with_for_update().execution_options(populate_existing=True)
        while not (entities := await self.load_all(under_lock)):
            # PostgreSQL has waited for the lock, and left out what no longer matches; what matches
            # since then is found only by another statement
            if not (await self.execute(sa.select(found.exists()))).scalar_one():
                break
        return entities

    async def load(self, statement: sa.Select[T], values: Any = None) -> T | None:
        """Return the only entity that a query finds, or None."""
        return next(iter(await self.load_all(statement, values)), None)

    async def load_all(self, statement: sa.Select[T], values: Any = None) -> Sequence[T]:
        """Return all entities that a query finds."""
        result = await self._call(self._objects().execute, statement, values)
        entities: Sequence[T] = result.scalars().all()
        return entities

    async def execute(self, statement: Executable, rows: Any = None) -> sa.Result[Any]:
        """Execute a statement on tables, once or for each of the rows; return its result.

        :raises ConcurrentUpdate: if a race was lost
        :raises sqlalchemy.exc.IntegrityError: if a constraint is violated
        :raises StatementRefused: if the statement or its data can never be accepted
        :raises ConnectionLost: if the connection broke, or did not answer in time
        :raises DatabaseUnavailable: if the database refuses for any other reason
        """
        self.has_written |= statement.is_dml
        return await self._call(self.connection.execute, statement, rows)

    async def execute_dml(self, statement: sa.Update | sa.Delete, rows: Any = None) -> int:
        """Execute an update or delete, and return how many rows matched."""
        return cast("sa.CursorResult[Any]", await self.execute(statement, rows)).rowcount

    async def upsert(self, table: sa.Table, made: sa.Select[Any], values: Any = None) -> None:
        """Insert the rows that a query makes; where a row has such a primary key, update it.

        Only the columns that the query names are written, so that a column which only a newer
        version of the application knows keeps its value. For errors, see `execute`.

        >>> import sqlalchemy as sa
        >>> from aftercommit import Transaction
        >>> from shop.adapters import orm
        >>> async def count_lines(transaction: Transaction) -> None:
        ...     name, count = sa.literal("lines").label("name"), sa.func.count().label("count")
        ...     lines = sa.select(name, count).select_from(orm.order_lines)
        ...     await transaction.upsert(orm.statistics, lines)
        """
        names = [column.name for column in made.selected_columns]
        keys = [column.name for column in table.primary_key]
        rows = made.where(sa.true())  # SQLite takes ON CONFLICT for a join if there is no WHERE
        insert = self._backend.insert(table).from_select(names, rows)
        changed = {name: insert.excluded[name] for name in names if name not in keys}
        await self.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), values)

    async def stream(self, statement: Executable) -> AsyncIterator[sa.Row[Any]]:
        """Execute a query, and yield its rows as they are fetched, in constant memory."""
        await self.execute(self._backend.allow_idle)
        result = await self._call(self.connection.stream, statement)
        while rows := await self._call(result.fetchmany, STREAM_ROWS):
            for row in rows:
                yield row

    async def run_sync(self, function: Callable[[sa.Connection], T]) -> T:
        """Run a function that needs a synchronous connection, such as a migration."""
        return await self._call(self.connection.run_sync, function)

    async def lift_timeout(self) -> None:
        """Let each statement from now on take as long as it needs."""
        self._no_timeout = True
        await self.execute(self._backend.no_statement_timeout)

    async def flush(self) -> None:
        """Write what was added and changed; for other errors see `execute`.

        :raises Exception: the error in `refusals`, if its constraint is violated
        :raises ConcurrentUpdate: if another constraint is; a fresh transaction resolves it
        :raises StatementRefused: if data are missing or out of range
        """
        if self._failure:  # which a handler has swallowed
            raise self._failure
        if (session := self._session) is None:
            return
        refusals = self.refusals(self.seen)  # they cannot be read after a failed flush
        dirty = map(session.is_modified, session.dirty)
        self.has_written |= bool(session.new) or any(dirty)
        try:
            await self._call(session.flush)
        except IntegrityError as error:
            name = self._backend.violated(error, self._tables())
            conflict = ConcurrentUpdate()
            if name:
                conflict.add_note(f"it violates {name}, which `refusals` does not explain")
            raise refusals.get(name or "", conflict) from error

    def _tables(self) -> Iterator[sa.Table]:
        """Yield the tables of the objects that were seen."""
        for entity_type in {type(entity) for entity in self.seen}:
            mapper: Mapper[Any] | None = sa.inspect(entity_type, raiseerr=False)
            for table in mapper.tables if mapper else ():
                if isinstance(table, sa.Table):
                    yield table

    async def commit(self) -> None:
        """Commit the transaction.

        :raises Exception: the error that failed the transaction before
        :raises CommitOutcomeUnknown: if the connection was lost before the answer came
        """
        if self._failure:
            raise self._failure
        lost: ConnectionLost | None = None
        try:
            await self._call(self.connection.run_sync, _commit, self.guard)
        except ConnectionLost as error:
            lost = error
        for function in self._afterwards:
            function()
        if lost:
            raise CommitOutcomeUnknown from lost

    async def close(self) -> None:
        """Roll back what is not committed; calls from tasks left behind are refused from now on.

        If such a task is executing a statement, the connection is closed: after a ROLLBACK, the
        statement would be outside any transaction.
        """
        with self.guard.alone() if self.guard else nullcontext():
            if not self.connection.closed:
                with CancelScope(shield=True):
                    await self._backend.call(self.connection.run_sync, _close, self.guard)

    async def _call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        if self.guard:
            self.guard.ensure_open()
        try:
            return await self._backend.call(function, *args, no_timeout=self._no_timeout)
        except Exception as error:
            if self.guard is None or self.guard.is_open:  # otherwise, a task left behind runs it
                self._failure = self._failure or error
            raise


def _commit(connection: sa.Connection, guard: HandlerGuard | None) -> None:
    if connection.closed:
        raise ResourceClosedError("the transaction has ended")
    connection.commit()
    if guard and not guard.is_reusable:
        connection.invalidate()
    connection.close()  # otherwise, the next statement would begin another one


def _close(connection: sa.Connection, guard: HandlerGuard | None) -> None:
    is_unsafe = guard and (guard.under_way or not guard.is_reusable)
    if is_unsafe or _is_stuck(connection):
        connection.invalidate()
    with suppress(Exception):  # the pool drops what it cannot roll back, and so does the server
        connection.close()


def _is_stuck(connection: sa.Connection) -> bool:
    """Tell whether a commit failed, and SQLAlchemy would return it to the pool without a rollback.

    For example, it was refused to a handler, or violates a foreign key on SQLite.
    """
    transaction = connection.get_transaction()
    if transaction is None or transaction.is_active or connection.invalidated:
        return False
    return in_transaction(connection.connection.driver_connection)
