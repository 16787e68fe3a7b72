"""The database: its transactions, how they share connections, and in which order they wait.

This module handles two traps, so that no other module has to know them:

- SQLite has one writer at a time. A transaction that begins as a reader and then writes fails with
  "database is locked", whatever the busy timeout, so a writing one declares it in its BEGIN; this
  process's writers wait in line for each other instead of spinning.
- Waiting for an exhausted pool fails after a while, and cannot be cancelled. So tasks wait in line
  before the pool, for as long as it takes. Handlers cannot take all connections, however long they
  run: some are reserved for reading, and some for last writes.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from os import getpid
from socket import gethostname
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from anyio import CancelScope, Semaphore, sleep
from anyio.lowlevel import current_token
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aftercommit.clock_and_ids import SYSTEM
from aftercommit.codec import Codec
from aftercommit.database.backend import NOT_GIVEN, DatabaseBackend, GivenEngine
from aftercommit.database.connection_guard import install_guards
from aftercommit.database.database_url import parse_url, wrong_url
from aftercommit.database.exceptions import DatabaseLocked
from aftercommit.database.migrations.history import History
from aftercommit.database.sqlite_backend import SQLite
from aftercommit.database.transaction import Transaction
from aftercommit.database.writer_queue import Writer, WriterQueue
from aftercommit.errors import TransientError

Backends = Mapping[str, Callable[[], type[DatabaseBackend]]]
"""By URL scheme: functions that import and return backends. SQLite needs none."""

LOCKED_PAUSE = 0.01  # seconds, if `?timeout=` is shorter
LAST_WRITES = 1  # connection for last writes: many share one transaction
NOT_FOR_HANDLERS = 2  # connections of the pool, if there are more


class Database:
    """An engine, the rules for its use, the codec of its events, and its application.

    `codec` reads and writes its events. Its schema belongs to the `application` of this name, and
    contains the tables of these `histories`: the engine's comes first. An application whose history
    is not there creates its tables itself. `program` is the name of its command, and `process` is
    NAME@HOST:PID. A `given` engine overrides the URL. No wait for it is much longer than a handler
    may take.

    :raises InvalidValue: if the URL cannot be understood, or needs another event loop

    >>> import anyio
    >>> import sqlalchemy as sa
    >>> from aftercommit import Database
    >>> from shop.adapters import orm
    >>> from shop.entrypoints.app import APP
    >>> async def count(database: Database) -> int:
    ...     async with database.read_transaction() as transaction:
    ...         count = await transaction.execute(sa.select(sa.func.count(orm.orders.c.id)))
    ...         return count.scalar_one()
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         return await count(application.database)
    >>> anyio.run(main)
    0
    """

    def __init__(
        self,
        url: str,
        *,
        codec: Codec[object],
        application: str,
        program: str | None = None,
        histories: Sequence[History],
        backends: Backends = MappingProxyType({}),
        connections: int = 10,
        handler_timeout: float = 20.0,
        instance_name: str | None = None,
        given: GivenEngine = NOT_GIVEN,
    ) -> None:
        self.codec, self.application, self.program = codec, application, program or application
        self.histories = tuple(histories)
        self.process = "@".join(filter(None, (instance_name, f"{gethostname()}:{getpid()}")))
        self.backend = backend = backend_for(url, backends, handler_timeout)
        size = connections + LAST_WRITES + 3  # one listens, one notifies, and one probes
        options = {"pool_size": size, "max_overflow": 0, "hide_parameters": True}
        try:
            self.engine = backend.new_engine(application, self.process, given=given, **options)
        except ValueError:  # the original error quotes the value
            raise wrong_url("has an option with a wrong value after the ?") from None
        self.given = given
        install_guards(self.engine)
        self.listen = partial(backend.listen, self.engine)
        self.clock: sa.ColumnElement[float] = sa.literal_column(backend.clock, sa.Double())
        self._reading_engine = self.engine.execution_options(sqlite_begin="BEGIN")
        self._slots = Semaphore(connections, fast_acquire=True)
        of_handlers = max(connections - NOT_FOR_HANDLERS, 1)
        self._handler_slots = Semaphore(of_handlers, fast_acquire=True)
        self._last_slots = Semaphore(LAST_WRITES, fast_acquire=True)
        self._probe_slot = Semaphore(1, fast_acquire=True)
        self.sources = SYSTEM  # or others, if an application is opened with them
        self.passed_lanes = Counter[str]()  # and how often: see `deferred_unblocking.py`
        self._writer_queue = WriterQueue() if backend.single_writer else None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Database"]:
        """Open it, and close it at the end. Nothing is connected before the first use."""
        try:
            async with self.backend.lifespan(self.engine):
                yield self
        finally:
            with CancelScope(shield=True):
                await self.engine.dispose()

    async def check_sessions(self, *, all_connections: bool = False) -> None:
        """Check what a long-running process needs of its sessions, perhaps with all connections.

        :raises Unavailable: if a pooler was seen to share sessions, or if the database gives fewer
            connections than a process may need
        """
        pool: Any = self.engine.pool
        await self.backend.check_sessions(self.engine, pool.size() if all_connections else None)

    @asynccontextmanager
    async def write_transaction(
        self, writer: Writer = Writer.OTHER, *, no_timeout: bool = False
    ) -> AsyncIterator[Transaction]:
        """Open a transaction that may write; without a commit it is rolled back.

        A transaction about a delivery waits for other processes' writes as long as its time limit
        allows. Without a time-out, as for a migration, each statement may take as long as it needs.
        """
        while True:
            async with AsyncExitStack() as opened:
                slots = self._last_slots if writer is Writer.LAST else self._slots
                try:
                    if self._writer_queue:
                        await opened.enter_async_context(self._writer_queue.turn(writer))
                    if writer in (Writer.DELIVERY, Writer.COMMAND):
                        await opened.enter_async_context(self._handler_slots)
                    transaction = await opened.enter_async_context(self._begin(self.engine, slots))
                except DatabaseLocked:
                    if writer > Writer.DELIVERY:
                        raise
                    await sleep(LOCKED_PAUSE)
                    continue  # from the end of the queue
                queue = self._writer_queue if writer >= Writer.DELIVERY else None
                if queue and queue.is_urgent:
                    continue  # while it waited for another process
                if no_timeout:
                    await transaction.lift_timeout()
                yield transaction
                return

    def read_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that only reads, and waits for no writer."""
        return self._begin(self._reading_engine, self._slots)

    def probe_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that only reads, on a connection reserved for it; one at a time.

        So probes tell a busy process from a database that is down, even if the pool is exhausted.
        """
        return self._begin(self._reading_engine, self._probe_slot)

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine, slots: Semaphore) -> AsyncIterator[Transaction]:
        transaction = Transaction(engine.connect(), self.backend, self.sources.new_id)
        async with slots:
            try:
                await self.backend.connect(partial(_start, transaction.connection))
                yield transaction
            finally:
                begun = transaction.connection.sync_connection is not None
                with suppress(TransientError):  # then the server limits it
                    if begun:
                        await transaction.close()


async def _start(connection: AsyncConnection) -> None:
    await connection.start()
    await connection.begin()


def backend_for(url: str, backends: Backends, handler_timeout: float) -> DatabaseBackend:
    """Return the backend of the database at `url`, with a driver for this event loop."""
    parsed = parse_url(url, backends)
    scheme, _, driver = parsed.drivername.partition("+")
    backend = find_backend(scheme, backends)
    where, dialects = usable_drivers(backend)
    if driver and driver not in dialects:
        named = driver if driver in backend.asyncio_drivers else "a driver"  # it may be a secret
        here = " and ".join(f"{scheme}+{each}" for each in dialects)
        raise wrong_url(f"names {named}, which is not supported on {where}, unlike {here}")
    dialect = dialects[driver or next(iter(dialects))]
    return backend(parsed.set(drivername=f"{scheme}+{dialect}"), handler_timeout=handler_timeout)


def find_backend(scheme: str, backends: Backends) -> type[DatabaseBackend]:
    """Return the backend class for this scheme of URLs.

    :raises InvalidValue: if no database has this scheme
    """
    if scheme == "sqlite":
        return SQLite
    if scheme not in backends:
        raise wrong_url(f"has to begin with one of these: {', '.join(('sqlite', *backends))}")
    return backends[scheme]()


def usable_drivers(backend: type[DatabaseBackend]) -> tuple[str, Mapping[str, str]]:
    """Return the name of this event loop, and the dialect of each driver that works on it.

    The first is the default.
    """
    if hasattr(current_token().native_token, "call_soon_threadsafe"):
        return "asyncio", {each: each for each in backend.asyncio_drivers}
    return "trio", dict.fromkeys(backend.trio_drivers, "anyio")
