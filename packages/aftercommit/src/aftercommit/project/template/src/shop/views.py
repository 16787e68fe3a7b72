"""The queries: functions that return committed rows, and never aggregates."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from aftercommit import Database

from shop.adapters import orm
from shop.domain.orders import OrderNotFound


@dataclass(frozen=True)
class OrderRow:
    """An order, for display."""

    order_id: UUID
    email: str
    is_cancelled: bool
    pieces: int


async def orders(database: Database) -> list[OrderRow]:
    """Return all orders."""
    async with database.read_transaction() as transaction:
        found = (await transaction.execute(_ORDERS)).mappings()
        return [OrderRow(**row) for row in found]


async def order(database: Database, order_id: UUID) -> OrderRow:
    """Return an order.

    :raises OrderNotFound: if no order has this id
    """
    async with database.read_transaction() as transaction:
        this = _ORDERS.where(orm.orders.c.id == order_id)
        row = (await transaction.execute(this)).mappings().one_or_none()
    if row is None:
        raise OrderNotFound(order_id)
    return OrderRow(**row)


async def is_cancelled(database: Database, order_id: UUID) -> bool:
    """Tell whether an order was cancelled."""
    return (await order(database, order_id)).is_cancelled


async def statistics(database: Database) -> dict[str, int]:
    """Return how many orders were placed, and how many of them cancelled."""
    async with database.read_transaction() as transaction:
        rows = (await transaction.execute(sa.select(orm.statistics))).mappings()
        return {row["name"]: row["count"] for row in rows}


_ORDERS = (
    sa.select(
        orm.orders.c.id.label("order_id"),
        orm.orders.c.email,
        orm.orders.c.is_cancelled,
        sa.func.sum(orm.order_lines.c.pieces).label("pieces"),
    )
    .join(orm.order_lines)
    .group_by(orm.orders.c.id)
)
