"""An order is stored with its event; what follows from it is done after the commit."""

from dataclasses import dataclass

import anyio
from aftercommit import IdempotencyKey, Outbox, on
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    is_reserved: Mapped[bool] = mapped_column(default=False)


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int


async def reserve(event: OrderPlaced, session: AsyncSession) -> None:  # takes effect once
    (await session.get_one(Order, event.order_id)).is_reserved = True


async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:  # at least once
    print(f"order {event.order_id} is confirmed, key {idempotency_key}")


engine = create_async_engine("postgresql+asyncpg://postgres@127.0.0.1/shop")
outbox = Outbox("shop", engine, [on(OrderPlaced, reserve, confirm)])


async def main() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with outbox.running():
        async with AsyncSession(engine) as session, session.begin():
            session.add(order := Order())
            await session.flush()  # the database makes the id
            await outbox.record(session, OrderPlaced(order.id), about=order.id)
        await anyio.sleep(1)
    await engine.dispose()


if __name__ == "__main__":
    anyio.run(main)
