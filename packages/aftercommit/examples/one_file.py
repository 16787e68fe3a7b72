"""An order is stored, and what follows from it is done, whatever dies in between.

python one_file.py 7                   # store an order, and do what follows
python one_file.py 8 --die-committed   # the process is killed after the commit
python one_file.py 9 --die-reserving   # it is killed inside a handler
python one_file.py                     # do what is left; a worker would, too:
aftercommit worker --until-idle one_file:outbox
"""

import os
import signal
import sys
from dataclasses import dataclass

import anyio
from aftercommit import IdempotencyKey, Outbox, on
from aftercommit.sqlite import prepare
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
    die_if_asked("--die-reserving")


async def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:  # at least once
    print(f"order {event.order_id} is confirmed, key {idempotency_key}")


def die_if_asked(option: str) -> None:
    if option in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)


engine = create_async_engine("sqlite+aiosqlite:///shop.db")
prepare(engine)
outbox = Outbox("shop", engine, [on(OrderPlaced, reserve, confirm)])


async def main(*orders: str) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with outbox.running():
        for number in map(int, filter(str.isdigit, orders)):
            async with AsyncSession(engine) as session, session.begin():
                session.add(Order(id=number))
                await outbox.record(session, OrderPlaced(number), about=number)
            die_if_asked("--die-committed")
        await anyio.sleep(1)
    await engine.dispose()


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
