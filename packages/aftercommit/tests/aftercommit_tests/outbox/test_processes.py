"""What a process with a memory needs of an outbox: docs/processes.md."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from aftercommit import IdempotencyKey, Later
from aftercommit.outbox.fixtures import rolled_back_async
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import (
    Base,
    Order,
    OrderPlaced,
    StockReserved,
    open_shop,
    until,
)

pytestmark = pytest.mark.anyio


class Loan(Base):
    """A process: who loads it, and commits after somebody else, is too late."""

    __tablename__ = "loans"
    id: Mapped[int] = mapped_column(primary_key=True)
    reader: Mapped[str | None]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as in SQLAlchemy's documentation


@pytest.mark.on("asyncio-postgres", "trio-postgres")
async def test_a_handler_that_was_too_late_runs_again(empty_url: str, anyio_backend: str) -> None:
    """It sees what the other transaction has changed; the attempt is the same."""
    seen: list[str | None] = []

    async def lend(event: OrderPlaced, session: AsyncSession) -> None:
        loan = await session.get_one(Loan, event.order_id)
        seen.append(loan.reader)
        if len(seen) == 1:
            async with shop.session() as other, other.begin():
                (await other.get_one(Loan, event.order_id)).reader = "Anna"
        if not loan.reader:
            loan.reader = "Boris"

    async with open_shop(empty_url, anyio_backend, lend) as shop, shop.outbox.running():
        async with shop.session() as session, session.begin():
            session.add(Loan(id=1))
        await shop.order(1)
        await until(shop.is_done)

        assert seen == [None, "Anna"]
        assert [row.reader for row in await shop.rows(Loan.reader)] == ["Anna"]
        assert [row.attempts for row in await shop.rows(tables.deliveries.c.attempts)] == [1]


@pytest.mark.on("asyncio-postgres", "trio-sqlite")
async def test_a_test_lets_a_deadline_pass(empty_url: str, anyio_backend: str) -> None:
    """The time that has passed in two calls is that of both, also for what a handler compares."""
    times: list[datetime] = []

    async def look(event: OrderPlaced, now: Callable[[], datetime]) -> None:
        times.append(now())

    entries = look, Later(expire, after=timedelta(hours=2))
    async with open_shop(empty_url, anyio_backend, *entries) as shop, shop.session() as session:
        async with shop.outbox.running():
            pass
        await shop.place(session, 1)

        assert await shop.outbox.deliver(session) == 1
        assert await shop.outbox.deliver(session, after=timedelta(hours=1)) == 0
        assert await shop.outbox.deliver(session, after=timedelta(hours=1)) == 1

        order = await session.get_one(Order, 1)
        assert timedelta(hours=2).total_seconds() <= order.reserved - times[0].timestamp()
        await shop.place(session, 2)
        assert await shop.outbox.deliver(session) == 1  # what is new has its whole time
        assert times[1] - times[0] >= timedelta(hours=2)
        assert shop.outbox.app.sources.now() < times[1]  # others have the time as it is


async def expire(event: OrderPlaced, session: AsyncSession, now: Callable[[], datetime]) -> None:
    """Note the time."""
    (await session.get_one(Order, event.order_id)).reserved = int(now().timestamp()) + 1


@pytest.mark.on("asyncio-postgres", "trio-sqlite")
async def test_an_answer_is_stored_in_a_session_of_its_own(
    empty_url: str, anyio_backend: str
) -> None:
    """In a test, too: the maker of sessions is bound to the connection that is rolled back."""

    async def charge(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
        async with new_session() as session, session.begin():
            if await shop.outbox.once(session, "payments", str(idempotency_key)):
                await shop.outbox.record(session, StockReserved(event.order_id), about=1)
                session.add(Order(id=1000 + event.order_id))

    async with open_shop(empty_url, anyio_backend, charge) as shop:
        new_session = async_sessionmaker(shop.engine)
        async with rolled_back_async(shop.engine) as connection:
            bound = {"bind": connection, "join_transaction_mode": "create_savepoint"}
            new_session.configure(**bound)
            async with new_session() as session:
                await shop.place(session, 1)
                await session.commit()
                assert await shop.outbox.deliver(session) == 1
                orders = await session.scalars(select(Order.id).order_by(Order.id))
                assert [*orders] == [1, 1001]

        assert await shop.rows(Order.id) == []  # nothing is left
