"""An application that has its own models, engine and sessions, and an outbox in them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from aftercommit import IdempotencyKey, Outbox, on
from aftercommit.sqlite import prepare
from sqlalchemy import ColumnElement, Row, make_url, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.things.bell import RecordingBell

DRIVERS = {("sqlite", "asyncio"): "aiosqlite", ("postgresql", "asyncio"): "asyncpg"}


class Base(DeclarativeBase):
    """Base of all models."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    reserved: Mapped[int] = mapped_column(default=0)


@dataclass(frozen=True)
class OrderPlaced:
    """There is a new order."""

    order_id: int


@dataclass(frozen=True)
class StockReserved:
    """What was ordered is kept for it."""

    order_id: int


async def reserve(event: OrderPlaced, session: AsyncSession) -> None:
    """Have an effect in the database."""
    (await session.get_one(Order, event.order_id)).reserved += 1


async def confirm(event: OrderPlaced, bell: RecordingBell, idempotency_key: IdempotencyKey) -> None:
    """Have an effect outside."""
    await bell.ring(f"order {event.order_id}", idempotency_key=idempotency_key)


@dataclass
class Shop:
    """The application, on a database."""

    engine: AsyncEngine
    outbox: Outbox
    bell: RecordingBell = field(default_factory=RecordingBell)

    def __post_init__(self) -> None:
        self.session = async_sessionmaker(self.engine)

    async def place(self, session: AsyncSession, number: int) -> None:
        """Place an order in a session."""
        session.add(Order(id=number))
        await self.outbox.record(session, OrderPlaced(number), about=number)

    async def order(self, number: int) -> None:
        """Place an order, and commit it."""
        async with self.session() as session, session.begin():
            await self.place(session, number)

    async def reserved(self) -> list[int]:
        """Return how often each order was reserved."""
        return [count for (count,) in await self.rows(Order.reserved)]

    async def pending(self) -> list[str]:
        """Return the handlers of what is not done."""
        rows = await self.rows(tables.deliveries.c.handler, tables.deliveries.c.completed_at)
        return sorted(row.handler for row in rows if row.completed_at is None)

    async def is_done(self) -> bool:
        """Tell whether nothing is left to do."""
        return await self.pending() == []

    async def last_error(self) -> str:
        """Return the last errors of all deliveries; nothing if there is none."""
        rows = await self.rows(tables.deliveries.c.last_error)
        return " ".join(row.last_error for row in rows if row.last_error)

    async def rows(self, *columns: ColumnElement[Any] | Any) -> list[Row[Any]]:
        """Return some columns of all rows."""
        async with self.session() as session:
            return [*(await session.execute(select(*columns).order_by(*columns)))]


@asynccontextmanager
async def open_shop(
    url: str, backend: str, *handlers: Any, prepared: bool = True, **settings: Any
) -> AsyncIterator[Shop]:
    """Open the application on an empty database; without handlers, with both of the usual ones."""
    kind = make_url(url).get_backend_name()
    driver = DRIVERS.get((kind, backend), "anyio")
    named = make_url(url).set(drivername=f"{kind}+{driver}")
    if kind == "sqlite":  # a busy machine takes its time, with the only lock
        named = named.update_query_dict({"timeout": str(LIMIT_SECONDS)})
    engine = create_async_engine(named)
    if kind == "sqlite" and prepared:
        prepare(engine)
    bell = RecordingBell()
    rows = [on(OrderPlaced, *(handlers or (reserve, confirm))), on(StockReserved)]
    outbox = Outbox("shop", url, rows, ports={"bell": bell}, **settings)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield Shop(engine, outbox, bell)
    finally:
        await engine.dispose()


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the worker has come so far, with a limit."""
    with anyio.fail_after(LIMIT_SECONDS):
        while not await condition():  # noqa: ASYNC110 - the worker tells nobody
            await anyio.sleep(0.02)
