"""Sessions of several connections: what they write is in one transaction, or it is refused."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit import Outbox, on
from aftercommit.errors import WiringError
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Base, Order, OrderPlaced, Shop, open_shop

pytestmark = [pytest.mark.anyio, pytest.mark.on("trio")]

TWO_WRITE = "two connections have written in one transaction"


@pytest.fixture
async def shop(postgres_url: str, anyio_backend: str) -> AsyncIterator[Shop]:
    """The application on PostgreSQL, which says which of two connections has written."""
    async with open_shop(postgres_url, anyio_backend) as shop:
        async with shop.outbox.running():
            pass  # it makes the tables
        yield shop


@pytest.fixture
async def other(shop: Shop) -> AsyncIterator[AsyncEngine]:
    """Another engine on the same database, as that of a replica has it."""
    engine = create_async_engine(shop.engine.url)
    yield engine
    await engine.dispose()


def routing(leader: AsyncEngine, follower: AsyncEngine) -> Callable[[], AsyncSession]:
    """Return what makes sessions that write to a leader, as SQLAlchemy's documentation shows it."""

    class RoutingSession(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Any:
            if self._flushing or isinstance(clause, sa.Update | sa.Delete):
                return leader.sync_engine
            return follower.sync_engine

    return lambda: AsyncSession(sync_session_class=RoutingSession)


async def events(shop: Shop) -> int:
    return len(await shop.rows(tables.events.c.id))


async def connections(session: AsyncSession) -> int:
    transaction: Any = session.sync_session.get_transaction()
    return len({each for each, *_ in transaction._connections.values()})


async def test_a_session_that_routes_stores_its_events_where_it_writes(
    shop: Shop, other: AsyncEngine
) -> None:
    """The order and its event are in one transaction; what was read elsewhere does no harm."""
    new_session = routing(shop.engine, other)
    async with new_session() as session:
        await session.execute(sa.select(Order.id))
        await shop.place(session, 1)
        await session.flush()
        assert await connections(session) == 2
        await session.commit()
        assert await shop.outbox.deliver(session) == 2
        await session.rollback()

    assert await events(shop) == 1
    assert [number for (number,) in await shop.rows(Order.id)] == [1]


async def inserts_by_a_statement(session: AsyncSession) -> None:
    await session.execute(sa.insert(Order).values(id=1))


async def adds(session: AsyncSession) -> None:
    session.add(Order(id=1))


async def locks_a_row(session: AsyncSession) -> None:
    await session.execute(sa.select(Order).with_for_update())


@pytest.mark.parametrize("writes", [inserts_by_a_statement, adds, locks_a_row])
@pytest.mark.parametrize("is_first", [True, False])
async def test_what_is_written_over_another_connection_is_refused(
    shop: Shop, other: AsyncEngine, writes: Any, is_first: bool
) -> None:
    """Two commits, of which one can fail: an event without its order, or an order without one."""
    await shop.order(7)
    stored = await events(shop)
    async with AsyncSession(shop.engine, binds={Order: other}) as session:
        if is_first:
            await writes(session)
        await shop.outbox.record(session, OrderPlaced(1), about=1)
        if not is_first:
            await writes(session)
        with pytest.raises(WiringError, match=TWO_WRITE):
            await session.commit()

    assert await events(shop) == stored
    assert [number for (number,) in await shop.rows(Order.id)] == [7]


async def test_a_savepoint_that_is_released_is_no_commit(shop: Shop, other: AsyncEngine) -> None:
    """SQLAlchemy calls the same listeners for it: what was recorded is still to be committed."""
    async with AsyncSession(shop.engine, binds={Order: other}) as session:
        async with session.begin_nested():
            await shop.outbox.record(session, OrderPlaced(1), about=1)
        await adds(session)
        with pytest.raises(WiringError, match=TWO_WRITE):
            await session.commit()

    assert await events(shop) == 0


async def test_one_connection_costs_no_statement(shop: Shop) -> None:
    """Anyone who has one engine is asked nothing."""
    sent = list[str]()
    sa.event.listen(
        shop.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2])
    )
    await shop.order(1)  # looks at the database once
    sent.clear()
    await shop.order(2)

    assert [sql.split("(")[0].split()[:3] for sql in sent if "INSERT" in sql] == [
        ["INSERT", "INTO", "aftercommit_events"],
        ["INSERT", "INTO", "aftercommit_deliveries"],
        ["INSERT", "INTO", "orders"],
    ]
    assert [sql for sql in sent if "INSERT" not in sql and "BEGIN" not in sql] == []


async def test_fixtures_and_options_are_no_second_connection(shop: Shop) -> None:
    """SQLAlchemy has two entries for one connection then; and two engines may share a pool."""
    async with shop.engine.connect() as connection:
        await connection.begin()
        joined = AsyncSession(connection, join_transaction_mode="create_savepoint")
        async with joined as session:
            await shop.place(session, 1)
            async with session.begin_nested():
                await shop.place(session, 2)
            await session.commit()
            assert await shop.outbox.deliver(session) == 4
        await connection.rollback()
    assert await events(shop) == 0

    optional = shop.engine.execution_options(logging_token="orders")
    async with AsyncSession(optional) as session, session.begin():
        await shop.place(session, 3)
    assert await events(shop) == 1


async def test_a_session_without_an_engine_for_our_tables_is_told_so(shop: Shop) -> None:
    """It knows which models are where, and ours are none of these."""
    async with AsyncSession(binds={Order: shop.engine}) as session:
        with pytest.raises(WiringError, match="no engine for the tables of the outbox"):
            await shop.place(session, 1)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.everywhere
async def test_a_second_file_of_sqlite_is_warned_of(
    tmp_path: object, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not say whether something was written there."""
    other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/other.db")
    prepare(other)
    async with other.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend) as shop:
        outbox = Outbox("shop", f"sqlite:///{tmp_path}/shop.db", [on(OrderPlaced)])
        async with outbox.running():
            pass
        with caplog.at_level(logging.WARNING):
            async with AsyncSession(shop.engine, binds={Order: other}) as session:
                session.add(Order(id=1))
                await outbox.record(session, OrderPlaced(1), about=1)
                await session.commit()
    await other.dispose()

    assert [each.message for each in caplog.records if "can keep one and lose" in each.message]
