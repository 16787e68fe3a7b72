"""Transactions that share a database without a writer lock, and connections that tasks share."""

import anyio
import pytest
from aftercommit.errors import ConcurrentUpdate
from sqlalchemy import text
from sqlalchemy.pool import AsyncAdaptedQueuePool

from aftercommit_tests.builders import a_command
from aftercommit_tests.extensions.postgresql.server import change
from aftercommit_tests.things.app import Settings, bootstrap, open_things_database
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.world import open_world

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg", "trio-anyio")]


async def test_a_deadlock_is_a_lost_race(url: str) -> None:
    """The server ends one of the two; trying again is safe."""
    outcomes: list[str] = []
    both_hold_one = [anyio.Event(), anyio.Event()]

    async with open_things_database(url) as database:
        await change(database, "CREATE TABLE t AS SELECT generate_series(0, 1) AS id")

        async def lock(first: int, second: int) -> None:
            statement = text("SELECT 1 FROM t WHERE id = :id FOR UPDATE")
            try:
                async with database.write_transaction() as transaction:
                    await transaction.execute(statement, {"id": first})
                    both_hold_one[first].set()
                    await both_hold_one[second].wait()
                    await transaction.execute(statement, {"id": second})
                outcomes.append("done")
            except ConcurrentUpdate as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(lock, 0, 1)
            group.start_soon(lock, 1, 0)

    lost = "this transaction and another one waited for each other; try again"
    assert sorted(outcomes) == ["done", lost]


async def test_a_process_may_have_six_connections_beside_its_pool(url: str) -> None:
    """As the pages count: to listen, notify and probe, for last writes, two claim and complete."""
    async with open_things_database(url, connections=7) as database:
        pool = database.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        assert pool.size() == 7 + 6


async def test_an_exhausted_pool_makes_callers_wait_in_line(url: str) -> None:
    """They neither fail nor deadlock, and anyone who is cancelled leaves the line."""
    settings = Settings(
        database_url=url, pool_size=1, lease_seconds=900.0, handler_timeout_seconds=300.0
    )
    async with bootstrap(settings, bell=RecordingBell()) as application:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(application.bus.handle, a_command())

        async with application.database.read_transaction():
            with anyio.move_on_after(0.05) as impatient:
                await application.bus.execute(a_command())
            assert impatient.cancelled_caught

    async with open_world(url) as world:
        assert len(await world.things()) == 20
        assert {handler for _, handler in await world.deliveries()} == {"forget"}
