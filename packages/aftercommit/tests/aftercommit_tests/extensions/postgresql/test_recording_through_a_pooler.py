"""Requests go through a pooler that shares its sessions; the worker connects to the server."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Limited, Ordered, Outbox, on
from aftercommit.errors import WiringError
from anyio import to_thread
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from aftercommit_tests.builders import on as over
from aftercommit_tests.extensions.postgresql.pgbouncer import ALIAS, pgbouncer
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Base, Order, OrderPlaced, StockReserved, reserve, until
from aftercommit_tests.processes import wait_until
from aftercommit_tests.warm import SOURCES

pytestmark = [pytest.mark.anyio, pytest.mark.check]

ORDERS = 20  # in each of two lanes
KILLS = 3
DRIVERS = "asyncpg", "psycopg", "psycopg-async", "psycopg2"
UNPREPARED: dict[str, Any] = {  # for a pooler that knows no prepared statements
    "asyncpg": {
        "poolclass": NullPool,
        "connect_args": {
            "statement_cache_size": 0,
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": str,
        },
    },
    "psycopg": {"connect_args": {"prepare_threshold": None}},
}
REGISTER = """
import sys
import sqlalchemy as sa
from aftercommit_tests.extensions.postgresql import test_recording_through_a_pooler as here

here.register(here.an_outbox(sys.argv[2]), sa.create_engine(sys.argv[1]), int(sys.argv[3]))
"""


@pytest.fixture
def place() -> tuple[str, str]:
    """Where the worker runs, and its driver."""
    return "asyncio", "asyncpg"


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    """The server itself, over which the worker makes its tables."""
    return over("asyncpg", empty_postgres_url)


@pytest.fixture(params=[0, 200], ids="prepared-{}".format)
def prepared(request: pytest.FixtureRequest) -> int:
    """How many prepared statements of a client the pooler knows."""
    return int(request.param)


@pytest.fixture
def pooled(url: str, free_tcp_port: int, prepared: int) -> Iterator[str]:
    """The URL through a pooler, whose two sessions serve all clients in turn."""
    sharing: Any = {"mode": "transaction", "size": 2, "prepared": prepared}
    with pgbouncer(url, port=free_tcp_port, **sharing) as pooled:
        yield pooled


async def in_order(event: OrderPlaced) -> None:
    """Have an effect outside, after that of the order before."""
    taken.append(event.order_id)


async def seldom(event: OrderPlaced) -> None:
    """Have an effect outside, at most two at once."""


taken = list[int]()


def an_outbox(url: str) -> Outbox:
    handlers = reserve, Ordered(in_order), Limited(seldom, at_once=2)
    entry = on(OrderPlaced, *handlers, key=lambda event: event.order_id % 2)
    return Outbox("shop", url, [entry, on(StockReserved)])


def register(outbox: Outbox, engine: sa.Engine, first: int, count: float = float("inf")) -> None:
    """Place orders, each second number, as one process after the other would."""
    number = first
    while number < first + 2 * count:
        with Session(engine) as session:
            if outbox.once_sync(session, "shop.example", f"request-{number}"):
                session.add(Order(id=number))
                outbox.record_sync(session, OrderPlaced(number), about=number)
            session.commit()
        number += 2


async def register_async(outbox: Outbox, engine: AsyncEngine, first: int) -> None:
    """Do the same over an asynchronous driver."""
    for number in range(first, first + 2 * ORDERS, 2):
        async with AsyncSession(engine) as session, session.begin():
            assert await outbox.once(session, "shop.example", f"request-{number}")
            session.add(Order(id=number))
            await outbox.record(session, OrderPlaced(number), about=number)


def driver_of(name: str, url: str) -> str:
    named = make_url(url).set(drivername=f"postgresql+{name.removesuffix('-async')}")
    return named.render_as_string(hide_password=False)


async def register_all(outbox: Outbox, driver: str, pooled: str, **options: Any) -> None:
    """Place the orders of both lanes, at the same time."""
    url = driver_of(driver, pooled)
    engine: Any = None
    async with anyio.create_task_group() as group:
        if driver in ("asyncpg", "psycopg-async"):
            engine = create_async_engine(url, **options)
            for first in (0, 1):
                group.start_soon(register_async, outbox, engine, first)
        else:
            engine = sa.create_engine(url, **options)
            for first in (0, 1):
                work = partial(register, outbox, engine, first, ORDERS)
                group.start_soon(to_thread.run_sync, work)
    if isinstance(engine, AsyncEngine):
        await engine.dispose()
    else:
        engine.dispose()


@asynccontextmanager
async def server(url: str) -> AsyncIterator[AsyncEngine]:
    """The server itself, with the tables of the shop."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


async def are_done(engine: AsyncEngine) -> bool:
    left = sa.select(sa.func.count()).where(tables.deliveries.c.completed_at.is_(None))
    async with engine.connect() as connection:
        return await connection.scalar(left) == 0


async def reserved(engine: AsyncEngine) -> dict[int, int]:
    async with engine.connect() as connection:
        rows = await connection.execute(sa.select(Order.id, Order.reserved))
        return {row.id: row.reserved for row in rows}


@pytest.mark.parametrize("driver", DRIVERS)
async def test_what_is_recorded_through_it_is_delivered(
    driver: str, url: str, pooled: str, prepared: int
) -> None:
    """In order, once, and within a limit: recording is statements in a transaction of yours."""
    taken.clear()
    outbox = an_outbox(url)
    options = {} if prepared else UNPREPARED.get(driver.removesuffix("-async"), {})
    async with server(url) as engine, outbox.running():
        await register_all(outbox, driver, pooled, **options)
        await until(partial(are_done, engine))

        assert await reserved(engine) == dict.fromkeys(range(2 * ORDERS), 1)
    for lane in (0, 1):
        assert [each for each in taken if each % 2 == lane] == [*range(lane, 2 * ORDERS, 2)]


@pytest.mark.parametrize("prepared", [200], indirect=True)
async def test_a_client_that_is_killed_leaves_whole_transactions(url: str, pooled: str) -> None:
    """Each order that is stored has its event; what was not committed is nowhere."""
    taken.clear()
    outbox = an_outbox(url)
    async with server(url) as engine:
        async with outbox.running():
            for kill in range(KILLS):
                await to_thread.run_sync(register_until_killed, url, pooled, kill * 100_000)
        async with outbox.running():
            await until(partial(are_done, engine))
        orders = await reserved(engine)
        async with engine.connect() as connection:
            events = await connection.scalar(sa.select(sa.func.count()).select_from(tables.events))

    assert len(orders) >= KILLS * 10
    assert set(orders.values()) == {1}
    assert events == len(orders)


def register_until_killed(url: str, pooled: str, first: int) -> None:
    """Place orders in a process of its own, and kill it after some."""
    arguments = [sys.executable, "-c", REGISTER, driver_of("psycopg2", pooled), url, str(first)]
    environment = os.environ | {"PYTHONPATH": SOURCES}
    with subprocess.Popen(arguments, env=environment) as process:
        wait_until(partial(_has_placed, url, first + 20))
        process.kill()


def _has_placed(url: str, number: int) -> bool:
    engine = sa.create_engine(driver_of("psycopg2", url))
    with engine.connect() as connection:
        found = connection.scalar(sa.select(Order.id).where(Order.id == number))
    engine.dispose()
    return found is not None


@pytest.mark.parametrize("prepared", [200], indirect=True)
async def test_a_pooler_may_have_another_name_for_the_database(url: str, pooled: str) -> None:
    """The server knows whether it is the same; another database is refused, as ever."""
    outbox = an_outbox(url)
    alias = make_url(pooled).set(database=ALIAS)
    async with server(url):
        async with outbox.running():
            pass
        for database in (ALIAS, "postgres"):
            engine = create_async_engine(alias.set(database=database))
            async with AsyncSession(engine) as session:
                if database == ALIAS:
                    session.add(Order(id=1))
                    await outbox.record(session, OrderPlaced(1), about=1)
                    assert await outbox.deliver(session) > 0
                else:
                    with pytest.raises(WiringError, match="have different databases"):
                        await outbox.record(session, OrderPlaced(1), about=1)
            await engine.dispose()
