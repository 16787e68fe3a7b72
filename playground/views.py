"""The queries of this extension: what an experiment left in the database judges it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

import sqlalchemy as sa

from allocation.adapters.database import Database
from allocation.adapters.delivery_states import is_scheduled
from allocation.adapters.orm import PENDING, coupon_batches, coupons, deliveries, events
from allocation.service_layer.envelopes import EventId


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery; `owner` runs it or has done it: NAME@HOST:PID."""

    event_id: EventId
    handler: str
    attempts: int
    token: int
    owner: str | None
    parked_at: float | None
    completed_at: float | None
    unavailable_attempts: int = 0  # not counted for parking: the resource was away

    @property
    def is_done(self) -> bool:
        """Whether its handler has done the work."""
        return self.completed_at is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.is_done or self.parked_at is not None

    @property
    def owner_name(self) -> str | None:
        """The name of that process, if there is one."""
        return self.owner and self.owner.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Coupons:
    """How many coupons there were, how many are left or allocated, and to how many users."""

    quantity: int
    remaining: int
    allocated: int
    users: int


async def deliveries_of(database: Database, traces: Collection[UUID]) -> Sequence[DeliveryRow]:
    """Return all deliveries of some traces, except those that are for later."""
    names = [field.name for field in fields(DeliveryRow)]
    statement = sa.select(*(deliveries.c[name] for name in names)).join(events)
    due = sa.or_(deliveries.c.available_at.is_(None), ~is_scheduled(database.clock))
    wanted = statement.where(events.c.correlation_id.in_(traces), due)
    async with database.read_transaction() as transaction:
        rows = await transaction.execute(wanted)
    return [DeliveryRow(*tuple(row)) for row in rows]


async def settled_of(database: Database, handler: str) -> int:
    """Return how many deliveries a handler has settled; none as long as there are others."""
    unsettled = sa.func.count().filter(PENDING)
    statement = sa.select(sa.func.count(), unsettled).where(deliveries.c.handler == handler)
    async with database.read_transaction() as transaction:
        all_, left = tuple((await transaction.execute(statement)).one())
    return 0 if left else int(all_)


async def count_events(database: Database, event_type: str) -> int:
    """Return how many events of a type, by its wire name, are stored."""
    statement = sa.select(sa.func.count()).select_from(events).where(events.c.type == event_type)
    async with database.read_transaction() as transaction:
        number: int = (await transaction.execute(statement)).scalar_one()
    return number


async def count_coupons(database: Database) -> Coupons:
    """Return what has become of all coupons."""
    batches = sa.select(
        sa.func.coalesce(sa.func.sum(coupon_batches.c.quantity), 0),
        sa.func.coalesce(sa.func.sum(coupon_batches.c.remaining), 0),
    )
    users = sa.func.count(coupons.c.user_id.distinct())
    async with database.read_transaction() as transaction:
        quantity, remaining = tuple((await transaction.execute(batches)).one())
        allocated, users_ = tuple(
            (await transaction.execute(sa.select(sa.func.count(), users))).one()
        )
    return Coupons(quantity, remaining, allocated, users_)
