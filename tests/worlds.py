"""One face for the fakes and the real databases, so that one suite can test them all.

A world is a place to store things, seen from outside: units of work and the outbox go in, and what
is stored can be looked at, independently of the code under test. Its clock can be moved.
"""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import anyio
from aftercommit.claims import Claim, Committed, DeliveryPolicy, WorkItem
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import INTERNAL, EventId, MessageOrigin
from aftercommit.ports import Outbox
from aftercommit.sql import tables
from aftercommit.sql.database import Database
from aftercommit.sql.delivery_states import PAUSE
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.schema import ensure_schema
from aftercommit.sql.unit_of_work import open_unit_of_work
from aftercommit.unit_of_work import UnitOfWorkScope, commit_unit_of_work
from anyio import to_thread
from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    Row,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.sql import Executable

from allocation import views
from allocation.adapters import orm
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.service_layer.read_model_types import UserRow
from allocation.service_layer.unit_of_work import UnitOfWork
from tests import things
from tests.builders import (
    POLICY,
    a_command_envelope,
    a_registration,
    a_user,
    an_envelope_factory,
    open_database,
)
from tests.fakes import (
    FakeDatabase,
    FakeOutbox,
    KeptFailure,
    Key,
    StoredDelivery,
    fake_is_undeliverable,
    open_fake_unit_of_work,
)

Deliveries = dict[Key, StoredDelivery]


class Unit:
    """A unit of work of some process, which is committed as the bus commits it."""

    def __init__(
        self,
        opened: AbstractAsyncContextManager[UnitOfWorkScope],
        recorder: EnvelopeFactory,
        work: WorkItem,
    ) -> None:
        self._opened, self._recorder, self._work = opened, recorder, work
        self._resources = AsyncExitStack()
        self.committed = Committed()  # empty until the commit

    async def __aenter__(self) -> UnitOfWork:
        self._scope = await self._resources.enter_async_context(self._opened)
        self._resources.push_async_exit(self._commit)
        uow: UnitOfWork = self._scope.uow
        return uow

    async def __aexit__(self, *error: Any) -> None:
        await self._resources.__aexit__(*error)

    async def _commit(self, kind: object, error: object, traceback: object) -> None:
        if error is None:
            self.committed = await commit_unit_of_work(self._scope, self._recorder, self._work)


class FakeWorld:
    """Everything in memory; what its methods say here is what those of `SqlWorld` do."""

    def __init__(self, policy: DeliveryPolicy = POLICY) -> None:
        self.policy = policy
        self.envelopes = an_envelope_factory()
        self.database = FakeDatabase()

    def new_uow(self, work: WorkItem) -> "Unit":
        """Return a unit of work of some process."""
        opened = open_fake_unit_of_work(self.database, self.policy, work)
        return Unit(opened, self.envelopes, work)

    def outbox(self) -> Outbox:
        """Return the outbox of one more process."""
        return FakeOutbox(self.database, self.policy)

    async def move_clock(self, seconds: float) -> None:
        """Move the clock that the deliveries are measured with."""
        self.database.clock += seconds

    async def mark_as_replayed(self, event_id: EventId) -> None:
        """Let the deliveries of an event be those of a replay."""
        for key, row in self.database.deliveries.items():
            if key[0] == event_id:
                self.database.deliveries[key] = replace(row, replay=True)

    async def pause(self, handler: str) -> None:
        """Pause a handler."""
        self.database.paused.add(handler)

    async def resume(self, handler: str) -> None:
        """Let it go on."""
        self.database.paused.remove(handler)

    async def things(self) -> list[str]:
        """Return the names of all things, sorted."""
        return sorted(thing.name for thing in self.database.tables[things.Thing].values())

    async def lines(self) -> list[str]:
        """Return what handlers have written, sorted."""
        return sorted(line.text for line in self.database.tables[things.Line].values())

    async def members(self) -> list[str]:
        """Return the names of the members of all clubs, sorted."""
        clubs = self.database.tables[things.Club].values()
        return sorted(member.name for club in clubs for member in club.members)

    async def emails(self) -> list[str]:
        """Return the addresses of all users, sorted."""
        return sorted(str(user.email) for user in self.database.users.values())

    async def coupon_owners(self) -> list[UUID]:
        """Return the user of each coupon there is."""
        return list(self.database.coupons)

    async def coupons_left(self) -> dict[str, int]:
        """Return how many coupons each batch has left."""
        return {str(key): batch.remaining for key, batch in self.database.coupon_batches.items()}

    async def logged(self) -> list[str]:
        """Return the addresses in the registration log, sorted."""
        return sorted(email for _, email in self.database.registration_log)

    async def view(self) -> list[UserRow]:
        """Return the rows of the read model, by address."""
        return sorted(self.database.user_view.values(), key=lambda row: row.email)

    async def is_undeliverable(self, email: str) -> bool:
        """Ask the query that handlers ask."""
        return await fake_is_undeliverable(self.database, email)

    async def event_ids(self) -> set[EventId]:
        """Return the ids of the stored events."""
        return set(self.database.events)

    async def deliveries(self) -> Deliveries:
        """Return what is owed; times are relative to the clock."""
        now = self.database.clock
        return {key: _relative(row, now) for key, row in self.database.deliveries.items()}

    async def finished(self) -> dict[Key, int]:
        """Return what is done, and at which attempt."""
        return self.database.finished

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        """Return the attempts that failed, of each delivery the oldest first."""
        return self.database.failures

    async def commands(self) -> set[UUID]:
        """Return the ids of the commands that were accepted."""
        return {command.id for command in self.database.commands}


test_clock = Table("test_clock", things.tables, Column("seconds", Double, nullable=False))


@dataclass
class SqlWorld:
    """A real database, whose clock stands still in a table of its own until a test moves it.

    It is opened twice, as by two processes, and units of work and outboxes take them in turn: what
    keeps them apart is then the database, not a lock of this process.
    """

    database: Database
    other_database: Database
    policy: DeliveryPolicy = POLICY
    envelopes: EnvelopeFactory = field(default_factory=an_envelope_factory)

    def __post_init__(self) -> None:
        self._in_turn = cycle([self.database, self.other_database])

    def new_uow(self, work: WorkItem) -> "Unit":
        opened = open_unit_of_work(
            new_outbox(next(self._in_turn), self.policy), SqlAlchemyUnitOfWork, work
        )
        return Unit(opened, self.envelopes, work)

    def outbox(self) -> Outbox:
        return new_outbox(next(self._in_turn), self.policy)

    async def move_clock(self, seconds: float) -> None:
        await self._execute(update(test_clock).values(seconds=test_clock.c.seconds + seconds))

    async def mark_as_replayed(self, event_id: EventId) -> None:
        of_event = tables.deliveries.c.event_id == event_id
        await self._execute(update(tables.deliveries).where(of_event).values(replay=True))

    async def pause(self, handler: str) -> None:
        values = {"handler": handler, "paused_at": self.database.clock, "paused_by": "a test"}
        await self._execute(insert(tables.handler_pauses).values(values))

    async def resume(self, handler: str) -> None:
        of_this, owed = tables.handler_pauses.c.handler == handler, tables.deliveries.c
        await self._execute(delete(tables.handler_pauses).where(of_this))
        held = update(tables.deliveries).where(owed.handler == handler, owed.available_at > PAUSE)
        await self._execute(held.values(available_at=owed.available_at - PAUSE))

    async def things(self) -> list[str]:
        return sorted(name for (name,) in await self._rows(things.things_table.c.name))

    async def lines(self) -> list[str]:
        return sorted(text for (text,) in await self._rows(things.lines_table.c.text))

    async def members(self) -> list[str]:
        return sorted(name for (name,) in await self._rows(things.members_table.c.name))

    async def emails(self) -> list[str]:
        return sorted(str(email) for (email,) in await self._rows(orm.users.c.email))

    async def coupon_owners(self) -> list[UUID]:
        return [user_id for (user_id,) in await self._rows(orm.coupons.c.user_id)]

    async def coupons_left(self) -> dict[str, int]:
        batches = orm.coupon_batches.c
        rows = await self._rows(batches.reference, batches.remaining)
        return {str(row.reference): row.remaining for row in rows}

    async def logged(self) -> list[str]:
        return sorted(email for (email,) in await self._rows(orm.registration_log.c.email))

    async def view(self) -> list[UserRow]:
        rows = [UserRow(**row._asdict()) for row in await self._rows(*orm.user_view.c)]
        return sorted(rows, key=lambda row: row.email)

    async def is_undeliverable(self, email: str) -> bool:
        return await views.is_undeliverable(next(self._in_turn), email)

    async def event_ids(self) -> set[EventId]:
        return {event_id for (event_id,) in await self._rows(tables.events.c.id)}

    async def deliveries(self) -> Deliveries:
        rows = await self._rows(*tables.deliveries.c, self.database.clock.label("now"))
        owed = [row for row in rows if row.completed_at is None]
        return {(row.event_id, row.handler): _relative(_stored(row), row.now) for row in owed}

    async def finished(self) -> dict[Key, int]:
        rows = await self._rows(*tables.deliveries.c)
        return {(row.event_id, row.handler): row.attempts for row in rows if row.completed_at}

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        found: dict[Key, list[KeptFailure]] = {}
        for row in sorted(await self._rows(*tables.failures.c), key=lambda row: row.token):
            found.setdefault((row.event_id, row.handler), []).append((row.attempt, row.error))
        return found

    async def commands(self) -> set[UUID]:
        return {command_id for (command_id,) in await self._rows(tables.commands.c.id)}

    async def _execute(self, statement: Executable) -> None:
        async with self.database.write_transaction() as transaction:
            await transaction.execute(statement)
            await transaction.commit()

    async def _rows(self, *columns: ColumnElement[Any]) -> Sequence[Row[Any]]:
        async with self.database.read_transaction() as transaction:
            return (await transaction.execute(select(*columns))).all()


World = FakeWorld | SqlWorld
"""What a contract suite needs of a place to store things; mypy compares the two."""


def a_uow(
    world: World, delivery: Claim | None = None, *, received: MessageOrigin = INTERNAL
) -> Unit:
    return world.new_uow(delivery or a_command_envelope(received))


async def commit_a_registration(world: World, email: str = "ivan@example.com") -> dict[str, Claim]:
    """Register a user, and return the first claims on the deliveries of the event, by handler."""
    async with (scope := world.new_uow(a_command_envelope(command=a_registration()))) as uow:
        uow.users.add(a_user(email=email))
    return {claim.handler: claim for claim in scope.committed.claims}


@asynccontextmanager
async def sql_world(url: str, policy: DeliveryPolicy = POLICY) -> AsyncIterator[SqlWorld]:
    """Open a world on the database at `url`, with its clock standing still."""
    orm.start_mappers()
    things.start_mappers()
    await to_thread.run_sync(copy_template, url)
    async with open_database(url) as database, open_database(url) as another:
        yield await _a_sql_world(database, another, policy)


async def _a_sql_world(database: Database, another: Database, policy: DeliveryPolicy) -> SqlWorld:
    await ensure_schema(database)
    database.clock = another.clock = select(test_clock.c.seconds).scalar_subquery()
    async with database.write_transaction() as transaction:
        await transaction.run_sync(things.tables.create_all)
        await transaction.execute(insert(test_clock).values(seconds=1_000_000))
        await transaction.commit()
    return SqlWorld(database, another, policy)


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'test.db'}"


def migrate(url: str) -> None:
    """Give the database at `url` its schema; also where a browser's client has an event loop."""

    async def upgrade() -> None:
        async with open_database(url) as database:
            await ensure_schema(database)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(anyio.run, upgrade).result()


def copy_template(url: str) -> None:
    """Give a database on SQLite that is not there its schema."""
    file = Path(url.partition("sqlite:///")[2])
    if file.name and not file.exists():
        file.write_bytes(template())


@cache
def template() -> bytes:
    """Return a database file with the current schema, made once in each process."""
    with TemporaryDirectory(prefix="allocation-template-") as folder:
        migrate(sqlite_url(Path(folder)))
        return (Path(folder) / "test.db").read_bytes()


def on(driver: str, url: str) -> str:
    """Name the driver in a URL, if there is one to name."""
    return url.replace("://", f"+{driver}://", 1) if driver else url


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
    )


def _relative(row: StoredDelivery, now: float) -> StoredDelivery:
    parked_at = None if row.parked_at is None else row.parked_at - now
    return replace(row, available_at=row.available_at - now, parked_at=parked_at)
