"""Who waits for a connection, and which one is shared."""

from typing import Any

import anyio
import pytest
from sqlalchemy import URL, AsyncAdaptedQueuePool, NullPool, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

pytestmark = pytest.mark.everywhere

TASKS = 9
POOLS: dict[str, dict[str, Any]] = {
    "default": {"pool_size": 2, "max_overflow": 0},
    "null": {"poolclass": NullPool},
    "in memory": {},
}


@pytest.fixture(params=POOLS)
def pooled(request: pytest.FixtureRequest, url: URL) -> AsyncEngine:
    """An engine with a pool of each kind."""
    place = "sqlite+anyio://" if request.param == "in memory" else url
    return create_async_engine(place, **POOLS[request.param])


async def select_one(engine: AsyncEngine) -> object:
    async with engine.connect() as connection:
        return (await connection.execute(text("SELECT 1"))).scalar_one()


async def select_by_many(engine: AsyncEngine) -> list[object]:
    """Let several tasks be the first."""
    results = []

    async def select() -> None:
        results.append(await select_one(engine))

    async with anyio.create_task_group() as group:
        for _ in range(TASKS):
            group.start_soon(select)
    return results


@pytest.mark.anyio
async def test_several_tasks_may_be_the_first(pooled: AsyncEngine) -> None:
    """SQLAlchemy prepares an engine with its first connection, under a lock of asyncio."""
    assert await select_by_many(pooled) == [1] * TASKS
    await pooled.dispose()


@pytest.mark.anyio
async def test_all_connections_to_a_database_in_memory_have_the_same_one() -> None:
    """Tests of other projects like that."""
    engine = create_async_engine("sqlite+anyio://")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers AS SELECT 7 AS n"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT n FROM numbers"))).scalar_one() == 7
    await engine.dispose()


def test_after_its_disposal_an_engine_may_be_used_on_another_event_loop(
    pooled: AsyncEngine,
) -> None:
    """Programs have an engine in a module, and tests with an event loop each."""

    async def use() -> list[object]:
        results = await select_by_many(pooled)
        await pooled.dispose()
        return results

    for backend in ("asyncio", "asyncio", "trio", "trio", "asyncio"):
        assert anyio.run(use, backend=backend) == [1] * TASKS


@pytest.mark.anyio
async def test_tasks_wait_for_a_connection_but_not_for_ever(url: URL) -> None:
    """The time limit is the pool's."""
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with engine.connect():
        with pytest.raises(PoolTimeout):
            await select_one(engine)

    assert await select_one(engine) == 1
    await engine.dispose()


@pytest.mark.anyio
async def test_a_cancelled_wait_for_a_connection_leaves_the_line(engine: AsyncEngine) -> None:
    """Otherwise the connection would be handed to somebody who has gone."""
    async with engine.connect():
        with anyio.move_on_after(0.01) as impatient:
            await select_one(engine)
        assert impatient.cancelled_caught

    assert await select_one(engine) == 1


@pytest.mark.anyio
async def test_a_pool_that_pings_leaves_no_transaction_behind(url: URL) -> None:
    """A ping takes one call, by the driver's own connection, which the dialect does not watch."""
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    for _ in range(2):
        assert await select_one(engine) == 1
    async with engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        in_transaction = engine.dialect.has_transaction(raw.driver_connection)  # type: ignore[attr-defined]

    await engine.dispose()
    assert not in_transaction


def test_the_pool_is_one_that_sqlalchemy_knows(url: URL) -> None:
    """Who looks at the pool of an engine, or logs what it does, meets nothing new."""
    pool = create_async_engine(url).pool

    assert isinstance(pool, AsyncAdaptedQueuePool)
    assert type(pool).__module__ == "sqlalchemy.pool"
