"""The queries of this room: what an experiment left in the database. Nothing else judges it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.orm import PENDING, coupon_batches, coupons, deliveries, events
from allocation.service_layer.envelopes import EventId


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery; `process` has it in hand or has done it: NAME@HOST:PID."""

    event_id: EventId
    handler: str
    attempts: int
    token: int
    process: str | None
    parked_at: float | None
    finished_at: float | None

    @property
    def is_done(self) -> bool:
        """Whether its handler has done the work."""
        return self.finished_at is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.is_done or self.parked_at is not None

    @property
    def owner(self) -> str | None:
        """The name of that process, if there is one."""
        return self.process and self.process.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Coupons:
    """How many coupons there were, how many are left or allocated, and to how many users."""

    quantity: int
    remaining: int
    allocated: int
    users: int


async def deliveries_of(database: Database, stories: Collection[UUID]) -> Sequence[DeliveryRow]:
    """Return all deliveries of some stories."""
    names = [field.name for field in fields(DeliveryRow)]
    statement = sa.select(*(deliveries.c[name] for name in names)).join(events)
    async with database.reading() as session:
        rows = await session.execute(statement.where(events.c.correlation_id.in_(stories)))
    return [DeliveryRow(*tuple(row)) for row in rows]


async def settled_of(database: Database, handler: str) -> int:
    """Return how many deliveries a handler has settled; none as long as there are others."""
    unsettled = sa.func.count().filter(PENDING)
    statement = sa.select(sa.func.count(), unsettled).where(deliveries.c.handler == handler)
    async with database.reading() as session:
        owed, left = tuple((await session.execute(statement)).one())
    return 0 if left else int(owed)


async def count_events(database: Database, event_type: str) -> int:
    """Return how many events of a type, by its wire name, are stored."""
    statement = sa.select(sa.func.count()).select_from(events).where(events.c.type == event_type)
    async with database.reading() as session:
        number: int = (await session.execute(statement)).scalar_one()
    return number


async def count_coupons(database: Database) -> Coupons:
    """Return what has become of all coupons."""
    batches = sa.select(
        sa.func.coalesce(sa.func.sum(coupon_batches.c.quantity), 0),
        sa.func.coalesce(sa.func.sum(coupon_batches.c.remaining), 0),
    )
    users = sa.func.count(coupons.c.user_id.distinct())
    async with database.reading() as session:
        quantity, remaining = tuple((await session.execute(batches)).one())
        allocated, users_ = tuple((await session.execute(sa.select(sa.func.count(), users))).one())
    return Coupons(quantity, remaining, allocated, users_)
