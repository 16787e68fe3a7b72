"""One face for the fakes and the real databases, so that one suite can test them all.

A world is a place to store things, seen from outside: units of work and the outbox go in, and what
is stored can be looked at, independently of the code under test. Its clock can be moved.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Double, MetaData, Row, Table, insert, select, update

from allocation.adapters import orm
from allocation.adapters.database import Database, open_database
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.schema import ensure_schema
from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, Trigger
from allocation.service_layer.envelopes import INSIDE, EventId, ReceivedMessage
from allocation.service_layer.ports import Outbox
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.views import UserRow
from tests.builders import POLICY, a_command_envelope, an_envelope_factory
from tests.fakes import (
    FakeDatabase,
    FakeOutbox,
    FakeUnitOfWork,
    KeptFailure,
    Key,
    StoredDelivery,
)

Deliveries = dict[Key, StoredDelivery]


class World(Protocol):
    """What a contract suite needs of a place to store things."""

    policy: DeliveryPolicy

    def new_uow(self, trigger: Trigger) -> UnitOfWork:
        """Return a unit of work of some process."""

    def outbox(self) -> Outbox:
        """Return the outbox of one more process."""

    async def move_clock(self, seconds: float) -> None:
        """Move the clock that the deliveries are measured with."""

    async def mark_as_replayed(self, event_id: EventId) -> None:
        """Let the deliveries of an event be those of a replay."""

    async def emails(self) -> list[str]:
        """Return the addresses of all users, sorted."""

    async def coupon_owners(self) -> list[UUID]:
        """Return the user of each coupon there is."""

    async def remaining(self) -> dict[str, int]:
        """Return how many coupons each batch has left."""

    async def logged(self) -> list[str]:
        """Return the addresses in the registration log, sorted."""

    async def view(self) -> list[UserRow]:
        """Return the rows of the read model, by address."""

    async def event_ids(self) -> set[EventId]:
        """Return the ids of the stored events."""

    async def deliveries(self) -> Deliveries:
        """Return what is owed; times are relative to the clock."""

    async def finished(self) -> dict[Key, int]:
        """Return what is done, and at which attempt."""

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        """Return the attempts that failed, of each delivery the oldest first."""

    async def commands(self) -> set[UUID]:
        """Return the ids of the commands that were accepted."""


def a_uow(
    world: World, delivery: Delivery | None = None, *, received: ReceivedMessage = INSIDE
) -> UnitOfWork:
    return world.new_uow(delivery or a_command_envelope(received))


class FakeWorld:
    """Everything in memory."""

    def __init__(self, policy: DeliveryPolicy = POLICY) -> None:
        self.policy = policy
        self.database = FakeDatabase()

    def new_uow(self, trigger: Trigger) -> UnitOfWork:
        return FakeUnitOfWork(self.database, self.policy, an_envelope_factory(), trigger)

    def outbox(self) -> Outbox:
        return FakeOutbox(self.database, self.policy)

    async def move_clock(self, seconds: float) -> None:
        self.database.clock += seconds

    async def mark_as_replayed(self, event_id: EventId) -> None:
        for key, row in self.database.deliveries.items():
            if key[0] == event_id:
                self.database.deliveries[key] = replace(row, replay=True)

    async def emails(self) -> list[str]:
        return sorted(str(user.email) for user in self.database.users.values())

    async def coupon_owners(self) -> list[UUID]:
        return list(self.database.coupons)

    async def remaining(self) -> dict[str, int]:
        return {str(key): batch.remaining for key, batch in self.database.batches.items()}

    async def logged(self) -> list[str]:
        return sorted(email for _, email in self.database.registration_log)

    async def view(self) -> list[UserRow]:
        return sorted(self.database.user_view.values(), key=lambda row: row.email)

    async def event_ids(self) -> set[EventId]:
        return set(self.database.events)

    async def deliveries(self) -> Deliveries:
        now = self.database.clock
        return {key: _relative(row, now) for key, row in self.database.deliveries.items()}

    async def finished(self) -> dict[Key, int]:
        return self.database.finished

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        return self.database.failures

    async def commands(self) -> set[UUID]:
        return {command.id for command in self.database.commands}


test_clock = Table("test_clock", MetaData(), Column("seconds", Double, nullable=False))


@dataclass
class SqlWorld:
    """A real database, whose clock stands still in a table of its own until a test moves it.

    It is opened twice, as by two processes, and units of work and outboxes take them in turn: what
    keeps them apart is then the database, not a lock of this process.
    """

    database: Database
    other_database: Database
    policy: DeliveryPolicy = POLICY

    def __post_init__(self) -> None:
        self._in_turn = cycle([self.database, self.other_database])

    def new_uow(self, trigger: Trigger) -> UnitOfWork:
        database = next(self._in_turn)
        outbox = SqlAlchemyOutbox(database, self.policy)
        return SqlAlchemyUnitOfWork(outbox, an_envelope_factory(), trigger)

    def outbox(self) -> Outbox:
        return SqlAlchemyOutbox(next(self._in_turn), self.policy)

    async def move_clock(self, seconds: float) -> None:
        async with self.database.writing() as session:
            await session.execute(update(test_clock).values(seconds=test_clock.c.seconds + seconds))
            await session.commit()

    async def mark_as_replayed(self, event_id: EventId) -> None:
        of_event = orm.deliveries.c.event_id == event_id
        async with self.database.writing() as session:
            await session.execute(update(orm.deliveries).where(of_event).values(replay=True))
            await session.commit()

    async def emails(self) -> list[str]:
        return sorted(str(email) for (email,) in await self._rows(orm.users.c.email))

    async def coupon_owners(self) -> list[UUID]:
        return [user_id for (user_id,) in await self._rows(orm.coupons.c.user_id)]

    async def remaining(self) -> dict[str, int]:
        batches = orm.coupon_batches.c
        rows = await self._rows(batches.reference, batches.remaining)
        return {str(row.reference): row.remaining for row in rows}

    async def logged(self) -> list[str]:
        return sorted(email for (email,) in await self._rows(orm.registration_log.c.email))

    async def view(self) -> list[UserRow]:
        rows = [UserRow(**row._asdict()) for row in await self._rows(*orm.user_view.c)]
        return sorted(rows, key=lambda row: row.email)

    async def event_ids(self) -> set[EventId]:
        return {event_id for (event_id,) in await self._rows(orm.events.c.id)}

    async def deliveries(self) -> Deliveries:
        rows = await self._rows(*orm.deliveries.c, self.database.clock.label("now"))
        owed = [row for row in rows if row.finished_at is None]
        return {(row.event_id, row.handler): _relative(_stored(row), row.now) for row in owed}

    async def finished(self) -> dict[Key, int]:
        rows = await self._rows(*orm.deliveries.c)
        return {(row.event_id, row.handler): row.attempts for row in rows if row.finished_at}

    async def failures(self) -> dict[Key, list[KeptFailure]]:
        found: dict[Key, list[KeptFailure]] = {}
        for row in sorted(await self._rows(*orm.failures.c), key=lambda row: row.token):
            found.setdefault((row.event_id, row.handler), []).append((row.attempt, row.error))
        return found

    async def commands(self) -> set[UUID]:
        return {command_id for (command_id,) in await self._rows(orm.commands.c.id)}

    async def _rows(self, *columns: ColumnElement[Any]) -> Sequence[Row[Any]]:
        async with self.database.reading() as session:
            return (await session.execute(select(*columns))).all()


@asynccontextmanager
async def sql_world(url: str, policy: DeliveryPolicy = POLICY) -> AsyncIterator[SqlWorld]:
    """Open a world on the database at `url`, with its clock standing still."""
    orm.start_mappers()
    async with open_database(url) as real, open_database(url) as other:
        await ensure_schema(real)
        clock = select(test_clock.c.seconds).scalar_subquery()
        database = Database(real.engine, real.kind, process=real.process, clock=clock)
        async with database.writing() as session:
            await session.run_sync(test_clock.metadata.create_all)
            await session.execute(insert(test_clock).values(seconds=1_000_000))
            await session.commit()
        another = Database(other.engine, other.kind, process=other.process, clock=clock)
        yield SqlWorld(database, another, policy)


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'test.db'}"


def on(driver: str, url: str) -> str:
    """Name the driver in a URL, if there is one to name."""
    return url.replace("://", f"+{driver}://", 1) if driver else url


def _stored(row: Row[Any]) -> StoredDelivery:
    return StoredDelivery(
        attempts=row.attempts,
        token=row.token,
        due_at=row.due_at,
        last_error=row.last_error,
        parked_at=row.parked_at,
        held=row.process is not None,
        replay=row.replay,
    )


def _relative(row: StoredDelivery, now: float) -> StoredDelivery:
    parked_at = None if row.parked_at is None else row.parked_at - now
    return replace(row, due_at=row.due_at - now, parked_at=parked_at)
