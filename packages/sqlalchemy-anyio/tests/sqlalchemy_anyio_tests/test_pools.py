"""Who waits for a connection, and which one is shared."""

from typing import Any

import anyio
import pytest
from sqlalchemy import URL, AsyncAdaptedQueuePool, NullPool, text
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

IN_MEMORY = "sqlite+anyio://"
TASKS = 9
EACH_POOL = pytest.mark.parametrize(
    "pool", [{"pool_size": 2, "max_overflow": 0}, {"poolclass": NullPool}], ids=["default", "null"]
)


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
@EACH_POOL
async def test_several_tasks_may_be_the_first(url: URL, pool: dict[str, Any]) -> None:
    """SQLAlchemy prepares an engine with its first connection, under a lock of asyncio."""
    engine = create_async_engine(url, **pool)

    assert await select_by_many(engine) == [1] * TASKS
    await engine.dispose()


@pytest.mark.anyio
async def test_several_tasks_may_be_the_first_to_ask_for_a_database_in_memory() -> None:
    """They get the same one; tests of other projects like that."""
    engine = create_async_engine(IN_MEMORY)

    assert await select_by_many(engine) == [1] * TASKS
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers AS SELECT 7 AS n"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT n FROM numbers"))).scalar_one() == 7
    await engine.dispose()


def use_on_several_event_loops(engine: AsyncEngine) -> None:
    async def use() -> list[object]:
        results = await select_by_many(engine)
        await engine.dispose()
        return results

    for backend in ("asyncio", "asyncio", "trio", "trio", "asyncio"):
        assert anyio.run(use, backend=backend) == [1] * TASKS


@EACH_POOL
def test_after_its_disposal_an_engine_may_be_used_on_another_event_loop(
    url: URL, pool: dict[str, Any]
) -> None:
    """Programs have an engine in a module, and tests with an event loop each."""
    use_on_several_event_loops(create_async_engine(url, **pool))


def test_after_its_disposal_so_may_an_engine_in_memory() -> None:
    """Its pool is another one."""
    use_on_several_event_loops(create_async_engine(IN_MEMORY))


@pytest.mark.anyio
async def test_tasks_wait_for_a_connection_but_not_for_ever(engine: AsyncEngine) -> None:
    """The time limit is the pool's."""
    async with engine.connect():
        with pytest.raises(PoolTimeout):
            await select_one(engine)

    assert await select_one(engine) == 1


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
