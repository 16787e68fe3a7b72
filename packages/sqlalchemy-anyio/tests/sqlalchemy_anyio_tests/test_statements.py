"""Statements, rows and transactions over a thread."""

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import CancelScope, to_thread
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sqlalchemy_anyio_tests.threads import threads_have_ended

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

SLOW = {  # a statement that takes a while, and returns one row
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
    " SELECT count(*) FROM n",
    "postgresql": "SELECT count(*) FROM pg_sleep(0.1)",
}


async def test_what_is_committed_is_stored_and_what_is_not_is_gone(engine: AsyncEngine) -> None:
    """A BEGIN that travels with the first statement is a BEGIN all the same."""
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE numbers (n INTEGER)"))
        await connection.commit()
        await connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")
        await connection.commit()
        await connection.exec_driver_sql("INSERT INTO numbers VALUES (2)")
        await connection.rollback()

    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT n FROM numbers"))).scalars().all() == [1]


async def test_rows_can_be_streamed(engine: AsyncEngine) -> None:
    """A few at a time, while the statement is still under way; and the rest in one go."""
    numbers = " UNION ALL ".join(f"SELECT {n} AS n" for n in range(10))
    async with engine.connect() as connection:
        result = await connection.stream(text(f"SELECT n FROM ({numbers}) AS t ORDER BY n"))
        assert (await result.fetchone()) == (0,)
        assert (await result.fetchmany(3)) == [(1,), (2,), (3,)]
        assert len(await result.fetchall()) == 6
        assert await result.fetchmany(3) == []


async def test_a_connection_does_one_thing_at_a_time(engine: AsyncEngine) -> None:
    """Also if two tasks share it; SQLite's in-memory databases have only one."""
    active: list[int] = []
    most = 0

    def work() -> None:
        nonlocal most
        active.append(1)
        most = max(most, len(active))
        time.sleep(0.01)
        active.pop()

    def call(connection: Connection) -> None:
        dbapi_connection: Any = connection.connection.dbapi_connection
        dbapi_connection.run_in_thread(work)

    async with engine.connect() as connection, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(connection.run_sync, call)

    assert most == 1


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_begin_takes_effect_with_the_statement_that_follows(engine: AsyncEngine) -> None:
    """Not later: a transaction that reads first must hold the lock it asked for."""

    def write_at_once() -> None:
        with closing(sqlite3.connect(str(engine.url.database), timeout=0)) as other:
            other.execute("CREATE TABLE numbers (n)")

    async with engine.connect() as connection:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
        await connection.exec_driver_sql("SELECT 1")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await to_thread.run_sync(write_at_once)
        await connection.exec_driver_sql("ROLLBACK")
        await to_thread.run_sync(write_at_once)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_begin_that_failed_is_tried_again(engine: AsyncEngine) -> None:
    """Otherwise what follows would be no transaction, and a rollback would undo nothing."""
    event.listen(engine.sync_engine, "connect", without_transactions_of_the_driver)
    event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE numbers (n)")
        await connection.commit()

    path = str(engine.url.database)
    async with AsyncSession(engine) as session:
        with closing(sqlite3.connect(path, check_same_thread=False)) as other:
            await to_thread.run_sync(other.execute, "BEGIN IMMEDIATE")
            with pytest.raises(OperationalError, match="locked"):
                await session.execute(text("INSERT INTO numbers VALUES (1)"))
        await session.execute(text("INSERT INTO numbers VALUES (2)"))
        await session.rollback()

        assert (await session.execute(text("SELECT * FROM numbers"))).all() == []


def without_transactions_of_the_driver(dbapi_connection: Any, _: object) -> None:
    dbapi_connection.isolation_level = None
    dbapi_connection.execute("PRAGMA busy_timeout = 0").close()


async def test_only_a_bare_begin_waits_for_the_next_statement(engine: AsyncEngine) -> None:
    """What comes with it must not be lost when the transaction ends."""
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE numbers (n INTEGER)")
        await connection.commit()
        if engine.dialect.name == "postgresql":
            await connection.exec_driver_sql("BEGIN; INSERT INTO numbers VALUES (1)")
            await connection.commit()
            assert (await connection.exec_driver_sql("SELECT n FROM numbers")).all() == [(1,)]
        else:
            with pytest.raises(OperationalError, match="syntax error"):
                await connection.exec_driver_sql("BEGIN garbage")


async def test_rows_that_are_returned_are_counted(engine: AsyncEngine) -> None:
    """As with the stock drivers."""
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE TABLE numbers AS SELECT 1 AS n UNION SELECT 2")
        result = await connection.exec_driver_sql("UPDATE numbers SET n = 5 RETURNING n")
        assert (result.rowcount, result.all()) == (2, [(5,), (5,)])


async def test_an_operation_in_flight_is_not_abandoned(engine: AsyncEngine) -> None:
    """Cancellation is seen after it, and the connection is as good as before."""
    async with engine.connect() as connection:
        with CancelScope() as scope:
            scope.cancel()
            count = (await connection.exec_driver_sql(SLOW[engine.dialect.name])).scalar_one()
            await anyio.lowlevel.checkpoint()
        assert count
        assert scope.cancelled_caught
        assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_even_asyncio_cannot_cancel_an_operation_in_flight(engine: AsyncEngine) -> None:
    """`Task.cancel`, twice, knows nothing of shields: the task ends cancelled, but not before.

    It waits for a lock, and the other one has written the same row, and not committed.
    """
    insert = text("INSERT INTO numbers VALUES (1)")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    others = create_async_engine(engine.url)

    async with engine.connect() as connection:
        async with others.connect() as other:
            await other.execute(insert)
            task = asyncio.ensure_future(connection.execute(insert))
            await anyio.wait_all_tasks_blocked()
            for _ in range(2):
                task.cancel()
                await asyncio.sleep(0)
                assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        await others.dispose()
        await threads_have_ended()  # SQLAlchemy has closed it, between two statements

    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar_one() == 1
