"""What is counted in the database, besides traces, to judge an experiment."""

from dataclasses import dataclass

import sqlalchemy as sa
from aftercommit import Database
from aftercommit.deliveries.tables import PENDING, deliveries, events

from allocation.adapters.orm import coupon_batches, coupons


@dataclass(frozen=True, slots=True)
class Coupons:
    """How many coupons are left, how many are allocated, and to how many users."""

    remaining: int
    allocated: int
    users: int


async def completed_of(database: Database, handler: str) -> int:
    """Return how many deliveries a handler has completed; none as long as some are not."""
    outstanding = sa.func.count().filter(PENDING)
    statement = sa.select(sa.func.count(), outstanding).where(deliveries.c.handler == handler)
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
    left = sa.select(sa.func.coalesce(sa.func.sum(coupon_batches.c.remaining), 0)).scalar_subquery()
    users = sa.func.count(coupons.c.user_id.distinct())
    statement = sa.select(left, sa.func.count(), users).select_from(coupons)
    async with database.read_transaction() as transaction:
        return Coupons(*tuple((await transaction.execute(statement)).one()))
