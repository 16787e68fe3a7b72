"""Look at what is stored, as an operator would, and change it from outside."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from aftercommit import Application

from allocation import views
from allocation.adapters.orm import UserRow
from allocation.domain.events import Event


async def users(app: Application) -> dict[str, UserRow]:
    """Return the list of users by their addresses."""
    async with views.users(app.database) as found:
        return {row.email: row async for row in found}


async def coupons_left(app: Application) -> dict[str, int]:
    """Return how many coupons each batch has left."""
    async with views.coupon_batches(app.database) as found:
        return {row.reference: row.remaining async for row in found}


async def code_of(app: Application, email: str) -> str:
    """Return the code of a user's coupon."""
    code = (await users(app))[email].coupon_code
    assert code
    return code


async def rows(app: Application, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    """Return what a query finds."""
    async with app.database.read_transaction() as transaction:
        return (await transaction.execute(statement)).all()


async def count(app: Application, table: sa.Table) -> int:
    """Return how many rows a table has."""
    [(number,)] = await rows(app, sa.select(sa.func.count()).select_from(table))
    return int(number)


async def change(app: Application, *statements: sa.Executable) -> None:
    """Change rows in one transaction."""
    async with app.database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(statement)
        await transaction.commit()


def types(events: Sequence[Any]) -> set[type[Event]]:
    """Return the types of the events in some envelopes."""
    return {type(envelope.event) for envelope in events}
