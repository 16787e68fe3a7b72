"""Connections that are given up, lost or forgotten, and their threads."""

import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aftercommit_tests.proxy import Proxy
from sqlalchemy import URL, text
from sqlalchemy.exc import OperationalError, SAWarning
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqlalchemy_anyio_tests.threads import running_threads, threads_have_ended

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere, pytest.mark.check]

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
ONE_CONNECTION = {"pool_size": 1, "max_overflow": 0}


async def fails(connection: AsyncConnection, statement: str) -> None:
    with pytest.raises(OperationalError, match="the connection was terminated") as failure:
        await connection.execute(text(statement))
    assert failure.value.connection_invalidated


async def invalidated_in_flight(connection: AsyncConnection, statement: str) -> None:
    """Invalidate the connection from another task, with a statement in flight."""
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(fails, connection, statement)
            await anyio.wait_all_tasks_blocked()
            await connection.invalidate()


async def dbapi(connection: AsyncConnection) -> Any:
    return (await connection.get_raw_connection()).dbapi_connection


async def in_thread(connection: AsyncConnection, function: Any, *args: Any) -> None:
    dbapi_connection = await dbapi(connection)
    await connection.run_sync(lambda _: dbapi_connection.run_in_thread(function, *args))


async def test_who_waits_for_a_frozen_server_is_released_by_an_invalidation(
    proxied: tuple[URL, Proxy],
) -> None:
    """At once, whatever the server does; and the thread ends, while it is still frozen."""
    url, proxy = proxied
    engine = create_async_engine(url, **ONE_CONNECTION)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        proxy.freeze()
        await invalidated_in_flight(connection, "SELECT 2")
        await threads_have_ended()

    await engine.dispose()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_who_waits_for_an_endless_statement_is_released_by_an_invalidation(
    engine: AsyncEngine,
) -> None:
    """SQLite interrupts it."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        await invalidated_in_flight(connection, ENDLESS)
        await threads_have_ended()

    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_call_may_take_so_many_seconds(proxied: tuple[URL, Proxy]) -> None:
    """Nobody else could release who waits inside of the pool: for a ping, or for a connection."""
    url, proxy = proxied
    limited = url.update_query_dict({"command_timeout": "2"})
    engine = create_async_engine(limited, pool_pre_ping=True)
    async with engine.connect() as connection:
        async with engine.connect() as idle:
            await idle.execute(text("SELECT 1"))
        proxy.freeze()
        await fails(connection, "SELECT 2")
        with pytest.raises(OperationalError, match="the connection was terminated"):
            await engine.connect()
    proxy.cut()
    await threads_have_ended()
    await engine.dispose()


async def test_connecting_can_be_cancelled(proxied: tuple[URL, Proxy]) -> None:
    """A process that ends must not wait for a server that does not answer."""
    url, proxy = proxied
    engine = create_async_engine(url)
    proxy.freeze()

    with anyio.fail_after(60), anyio.move_on_after(0.1) as limit:
        await engine.connect()

    assert limit.cancelled_caught
    proxy.cut()
    await threads_have_ended()
    await engine.dispose()


async def test_what_nobody_waits_for_any_more_is_not_begun(engine: AsyncEngine) -> None:
    """Of two tasks that share a connection, the second has not had its turn yet."""
    is_released = threading.Event()
    done: list[int] = []
    async with engine.connect() as connection:
        dbapi_connection = await dbapi(connection)

        async def refused(function: Any, *args: Any) -> None:
            with pytest.raises(engine.dialect.loaded_dbapi.OperationalError, match="terminated"):
                await in_thread(connection, function, *args)

        async with anyio.create_task_group() as group:
            group.start_soon(refused, is_released.wait)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(refused, done.append, 1)
            await anyio.wait_all_tasks_blocked()
            dbapi_connection.terminate()
        await refused(done.append, 2)
        is_released.set()
        await threads_have_ended()
        await connection.invalidate()

    assert done == []


PROGRAM = """
import sys, time
import anyio
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

async def main():
    engine = create_async_engine("sqlite+anyio://", connect_args={"command_timeout": 2})
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        try:
            hang = raw.dbapi_connection.run_in_thread
            await connection.run_sync(lambda _: hang(time.sleep, 3600))
        except engine.dialect.loaded_dbapi.OperationalError as error:
            print(error)
        await connection.invalidate()

anyio.run(main, backend=sys.argv[1])
"""


def test_a_call_that_never_ends_does_not_keep_the_process(backend: str) -> None:
    """Python waits at its end for the threads of an executor, but not for a daemon."""
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend], capture_output=True, text=True, timeout=240
    )

    assert (program.returncode, program.stderr) == (0, "")
    assert program.stdout == "the connection was terminated\n"


async def test_a_connection_that_cannot_be_made_is_an_error_of_the_driver(
    tmp_path: Path, free_tcp_port: int
) -> None:
    """With its reason, and without a thread that stays."""
    for url in (
        f"sqlite+anyio:///{tmp_path}/nowhere/test.db",
        f"postgresql+anyio://nobody@127.0.0.1:{free_tcp_port}/allocation",
    ):
        engine = create_async_engine(url)
        with pytest.raises(OperationalError):
            await engine.connect()
        await threads_have_ended()


async def test_a_forgotten_connection_is_closed_with_a_warning(engine: AsyncEngine) -> None:
    """The garbage collector cannot wait for a thread, so it only tells it to close."""

    async def forget() -> None:
        await engine.connect().start()
        gc.collect()

    with pytest.warns(SAWarning, match="non-checked-in connection.*terminated"):
        await forget()
    await threads_have_ended()


async def test_an_engine_that_is_disposed_of_leaves_no_thread(url: URL) -> None:
    """They have ended, or are about to."""
    await threads_have_ended()  # those of other tests
    engine = create_async_engine(url)
    async with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            await connection.execute(text("SELECT 1"))
        assert len(running_threads()) == 2
    await engine.dispose()

    await threads_have_ended()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_an_engine_that_is_forgotten_leaves_no_thread(url: URL) -> None:
    """Somebody will forget one, in a test."""

    async def forget() -> None:
        async with create_async_engine(url).connect() as connection:
            await connection.execute(text("SELECT 1"))

    await forget()
    gc.collect()

    await threads_have_ended()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_an_engine_is_prepared_in_the_thread(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy asks the driver itself for a type of PostgreSQL: that must not block the loop."""
    from psycopg.types import TypeInfo

    fetch, threads = TypeInfo.fetch, []

    def spy(*args: Any) -> Any:
        threads.append(threading.current_thread().name)
        return fetch(*args)

    monkeypatch.setattr(TypeInfo, "fetch", spy)
    engine = create_async_engine(url)
    async with engine.connect():
        pass
    await engine.dispose()

    assert threads == ["sqlalchemy_anyio"]
