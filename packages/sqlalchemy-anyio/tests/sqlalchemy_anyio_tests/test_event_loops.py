"""What SQLAlchemy itself does with asyncio works on Trio, too, and on asyncio as before.

If an update of SQLAlchemy lets one of these fail on Trio, look at what `asyncio_shim.py` replaces.
"""

import asyncio

import anyio
import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    base,
    create_async_engine,
    session,
)

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

INSERT = text("INSERT INTO numbers VALUES (1)")


@pytest.fixture
async def engine(engine: AsyncEngine) -> AsyncEngine:
    """An engine with one connection, and a table."""
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
    return engine


async def count(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM numbers"))).scalar_one())


async def test_what_is_done_in_a_context_is_committed_at_its_end(engine: AsyncEngine) -> None:
    """Each way that SQLAlchemy's documentation shows."""
    new_session = async_sessionmaker(engine)

    async with engine.begin() as connection:
        await connection.execute(INSERT)
    async with engine.connect() as connection, connection.begin():
        await connection.execute(INSERT)
    async with AsyncSession(engine) as session, session.begin(), session.begin_nested():
        await session.execute(INSERT)
    async with new_session.begin() as session:
        await session.execute(INSERT)

    assert await count(engine) == 4


async def test_what_fails_in_a_context_is_rolled_back(engine: AsyncEngine) -> None:
    """And its connection, the only one, is back in the pool."""
    new_session = async_sessionmaker(engine)

    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as connection:
            await connection.execute(INSERT)
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with new_session.begin() as session:
            await session.execute(INSERT)
            raise ZeroDivisionError
    async with new_session() as session:
        await session.execute(INSERT)

    assert await count(engine) == 0


async def test_rows_can_be_streamed_in_a_context(engine: AsyncEngine) -> None:
    """It closes the cursor, also if not all rows were wanted."""
    numbers = text("SELECT 1 AS n UNION SELECT 2 ORDER BY n")
    async with engine.connect() as connection:
        async with connection.stream(numbers) as result:
            assert await result.fetchone() == (1,)
        assert (await connection.execute(INSERT)).rowcount == 1


async def test_a_cancelled_context_is_left_in_order(engine: AsyncEngine) -> None:
    """Nothing is stored, the cancellation goes on, and the connection is back in the pool."""
    for context in (engine.begin(), async_sessionmaker(engine).begin()):
        with anyio.CancelScope() as scope:
            async with context as opened:
                await opened.execute(INSERT)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert await count(engine) == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.usefixtures("engine")
async def test_on_asyncio_sqlalchemy_gets_asyncio_itself() -> None:
    """Anyone who uses another driver in the same process must not notice."""
    seen = vars(base).get("asyncio") or vars(session)["asyncio"]  # where depends on the version

    assert (seen.create_task, seen.shield) == (asyncio.create_task, asyncio.shield)
    assert (seen.Lock, seen.CancelledError) == (asyncio.Lock, asyncio.CancelledError)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_stock_driver_works_in_the_same_process(engine: AsyncEngine, url: URL) -> None:
    """Here aiosqlite, which needs asyncio."""
    stock = create_async_engine(url.set(drivername="sqlite+aiosqlite"))
    async with stock.begin() as connection:
        await connection.execute(INSERT)
    await stock.dispose()

    assert await count(engine) == 1
