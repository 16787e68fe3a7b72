"""A database, whose clock a test moves, and the engine on it: what contract suites look at.

It is opened twice, as by two processes, and units of work and outboxes take them in turn: what
keeps them apart is then the database, not a lock of this process.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from typing import Any
from uuid import UUID

from aftercommit import (
    Application,
    Database,
    Dependencies,
    EnvelopeFactory,
    Every,
    MessageBus,
    MessageOrigin,
    Observer,
    bind,
    new_delivery_store,
    open_unit_of_work,
)
from anyio import Semaphore
from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    MetaData,
    Row,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql import Executable

from aftercommit_tests.builders import (
    MARIA,
    PLAIN,
    POLICY,
    CommandHandlers,
    EventHandlers,
    Keys,
    a_command,
    a_command_work,
    a_thing,
    an_envelope_factory,
    table,
)
from aftercommit_tests.inside.claims import (
    INTERNAL,
    Claim,
    Committed,
    DeliveryPolicy,
    EventId,
    SqlAlchemyDeliveryStore,
    SqlAlchemyUnitOfWorkScope,
    WorkItem,
)
from aftercommit_tests.inside.operations import handler_pauses
from aftercommit_tests.inside.process import CompositeObserver
from aftercommit_tests.inside.stored import schedule_rows, tables
from aftercommit_tests.things import storage
from aftercommit_tests.things.app import open_things_database
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork, start_mappers

Key = tuple[EventId, str]
KeptFailure = tuple[int, str]  # attempt and error
START = 1_000_000.0

metadata = MetaData()
test_clock = Table("test_clock", metadata, Column("seconds", Double, nullable=False))


@dataclass(frozen=True)
class StoredDelivery:
    """What decides what comes next of a delivery; times are relative to the clock."""

    attempts: int
    token: int
    available_at: float
    unavailable_attempts: int = 0
    last_error: str | None = None
    parked_at: float | None = None
    held: bool = False  # by a process that works on it, or did when it died
    replay: bool = False
    blocked: bool = False


Deliveries = dict[Key, StoredDelivery]


class Unit:
    """A unit of work of some process, which is committed as the bus commits it."""

    def __init__(
        self,
        opened: AbstractAsyncContextManager[SqlAlchemyUnitOfWorkScope],
        envelopes: EnvelopeFactory,
    ) -> None:
        self._opened, self._envelopes = opened, envelopes
        self._resources = AsyncExitStack()
        self.committed = Committed()  # empty until the commit

    async def __aenter__(self) -> UnitOfWork:
        self._scope = await self._resources.enter_async_context(self._opened)
        self._resources.push_async_exit(self._commit)
        uow: Any = self._scope.uow
        assert isinstance(uow, UnitOfWork)
        return uow

    async def __aexit__(self, *error: Any) -> None:
        await self._resources.__aexit__(*error)

    async def _commit(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            self.committed = await self._scope.commit(self._envelopes)


@dataclass
class World:
    """The engine on a database, and everything a test may look at."""

    database: Database
    other_database: Database
    policy: DeliveryPolicy = POLICY
    event_handlers: EventHandlers = field(default_factory=lambda: PLAIN)
    command_handlers: CommandHandlers = field(default_factory=lambda: HANDLERS.commands)
    renamed: Mapping[str, str] = field(default_factory=dict)
    keys: Keys = field(default_factory=dict)
    every: Sequence[Every[Any]] = ()
    observers: Sequence[Observer] = ()
    slots: int = 50
    bell: RecordingBell = field(default_factory=RecordingBell)
    random: Callable[[], float] = lambda: 1.0

    def __post_init__(self) -> None:
        self._in_turn = cycle([self.database, self.other_database])
        self.wire()

    def wire(self) -> None:
        """Make the bus; again, after a test has exchanged something."""
        handlers = table(self.event_handlers, self.command_handlers, self.renamed, self.keys)
        instrumentation = CompositeObserver(self.observers)
        bell = instrumentation.port("bell", self.bell)
        dependencies = Dependencies(effect_ports={"bell": bell}, queries={}, constants={})
        self.limits, self.instead = handlers.limits(None), handlers.instead
        store = new_delivery_store(self.database, self.policy, self.limits, self.instead)
        self.envelopes = an_envelope_factory(self.event_handlers, self.keys)
        self.bus = MessageBus(
            registry=bind(handlers, dependencies),
            envelopes=self.envelopes,
            new_uow=partial(open_unit_of_work, store, UnitOfWork),
            delivery_store=store,
            policy=self.policy,
            random=self.random,
            slots=Semaphore(self.slots, fast_acquire=True),
            instrumentation=instrumentation,
        )
        names = {name: name for name in handlers.by_name()} | dict(self.renamed)
        self.application = Application(self.bus, self.database, {}, names, every=self.every)

    def new_uow(self, work: WorkItem) -> Unit:
        """Return a unit of work of some process."""
        store = self.delivery_store()
        return Unit(open_unit_of_work(store, UnitOfWork, work), self.envelopes)

    def a_uow(self, claim: Claim | None = None, *, received: MessageOrigin = INTERNAL) -> Unit:
        """Return the unit of work of a claim, or else of some command."""
        return self.new_uow(claim or a_command_work(received))

    def delivery_store(self) -> SqlAlchemyDeliveryStore:
        """Return the outbox of one more process."""
        return new_delivery_store(next(self._in_turn), self.policy, self.limits, self.instead)

    def schedules(self) -> schedule_rows.Schedules:
        """Return the schedules as some process keeps them."""
        return schedule_rows.Schedules(next(self._in_turn), self.every, self.envelopes)

    async def move_clock(self, seconds: float) -> None:
        """Move the clock that the deliveries are measured with."""
        await self.execute(update(test_clock).values(seconds=test_clock.c.seconds + seconds))

    async def pause(self, handler: str) -> None:
        """Pause a handler."""
        await handler_pauses.pause(self.database, [handler], MARIA)

    async def resume(self, handler: str) -> None:
        """Let it go on."""
        await handler_pauses.resume(self.database, [handler], MARIA)

    async def things(self) -> list[str]:
        """Return the names of all things, sorted."""
        return sorted(name for (name,) in await self.rows(storage.things.c.name))

    async def lines(self) -> list[str]:
        """Return what handlers have written, sorted."""
        return sorted(text for (text,) in await self.rows(storage.lines.c.text))

    async def members(self) -> list[str]:
        """Return the names of the members of all clubs, sorted."""
        return sorted(name for (name,) in await self.rows(storage.members.c.name))

    async def event_ids(self) -> set[EventId]:
        """Return the ids of the stored events."""
        return {event_id for (event_id,) in await self.rows(tables.events.c.id)}

    async def deliveries(self) -> Deliveries:
        """Return what is not done."""
        rows = await self.rows(*tables.deliveries.c, self.database.clock.label("now"))
        owed = [row for row in rows if row.completed_at is None]
        return {(row.event_id, row.handler): _relative(_stored(row), row.now) for row in owed}

    async def owed(self) -> list[str]:
        """Return the handlers whose deliveries will be tried again, sorted."""
        return sorted(
            handler
            for (_, handler), row in (await self.deliveries()).items()
            if row.parked_at is None
        )

    async def finished(self) -> dict[Key, int]:
        """Return what is done, and at which attempt."""
        rows = await self.rows(*tables.deliveries.c)
        return {(row.event_id, row.handler): row.attempts for row in rows if row.completed_at}

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        """Return the attempts that failed, of each delivery the oldest first."""
        found: dict[Key, list[KeptFailure]] = {}
        for row in await self.ends():
            if row.outcome in ("failed", "lease_expired"):
                found.setdefault((row.event_id, row.handler), []).append((row.attempt, row.error))
        return found

    async def ends(self) -> Sequence[Row[Any]]:
        """Return how claims ended whose handler has not succeeded, the oldest first."""
        return sorted(await self.rows(*tables.failures.c), key=lambda row: row.token)

    async def commands(self) -> set[UUID]:
        """Return the ids of the commands that were accepted."""
        return {command_id for (command_id,) in await self.rows(tables.commands.c.id)}

    async def execute(self, statement: Executable) -> None:
        """Execute a statement in a transaction of its own."""
        async with self.database.write_transaction() as transaction:
            await transaction.execute(statement)
            await transaction.commit()

    async def rows(self, *columns: ColumnElement[Any]) -> Sequence[Row[Any]]:
        """Return some columns of all rows."""
        async with self.database.read_transaction() as transaction:
            return (await transaction.execute(select(*columns))).all()

    async def make_thing(self, name: str | None = None) -> dict[str, Claim]:
        """Commit one more thing, and return the first claims on its event, by handler."""
        command = a_command(name)
        async with (unit := self.a_uow()) as uow:
            uow.things.add(a_thing(command.name, thing_id=command.thing_id))
        return {claim.handler: claim for claim in unit.committed.claims}

    async def end_leases(self) -> None:
        """Let so much time pass that the processes that have claimed count as dead."""
        await self.move_clock(self.policy.lease_seconds + 1)

    async def made(self, count: int = 1) -> list[Claim]:
        """Make things, and return the claims on the deliveries of their events."""
        committed = [await self.bus.execute(a_command()) for _ in range(count)]
        return [claim for each in committed for claim in each.claims]

    async def untouched(self) -> list[str]:
        """Return the handlers whose deliveries are due, and of which no attempt counts, sorted."""
        found = (await self.deliveries()).items()
        is_due = StoredDelivery(attempts=0, token=0, available_at=0.0)
        return sorted(name for (_, name), row in found if replace(row, token=0) == is_due)


@asynccontextmanager
async def open_world(url: str, **changed: Any) -> AsyncIterator[World]:
    """Open a world on a database that has its schema, with its clock standing still."""
    start_mappers()
    async with open_things_database(url) as database, open_things_database(url) as another:
        database.clock = another.clock = select(test_clock.c.seconds).scalar_subquery()
        async with database.write_transaction() as transaction:
            await transaction.execute(CreateTable(test_clock))
            await transaction.execute(insert(test_clock).values(seconds=START))
            await transaction.commit()
        yield World(database, another, **changed)


def _stored(row: Row[Any]) -> StoredDelivery:
    return StoredDelivery(
        attempts=row.attempts,
        token=row.token,
        available_at=row.available_at,
        unavailable_attempts=row.unavailable_attempts,
        last_error=row.last_error,
        parked_at=row.parked_at,
        held=row.owner is not None,
        replay=row.replay,
        blocked=row.blocked,
    )


def _relative(row: StoredDelivery, now: float) -> StoredDelivery:
    parked_at = None if row.parked_at is None else row.parked_at - now
    return replace(row, available_at=row.available_at - now, parked_at=parked_at)
