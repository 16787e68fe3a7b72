"""Ordered handlers of what sessions of the application record, while these have locks of their own.

On PostgreSQL, since SQLite has one writer.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Ordered
from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from aftercommit_tests.extensions.postgresql.standby import Server
from aftercommit_tests.inside.process import worker
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.outbox.orders import Order, OrderPlaced, Shop, open_shop, until

pytestmark = [pytest.mark.anyio, pytest.mark.on("trio")]

LOCKS_OF_LANES = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND datname = current_database()
"""


async def reserve_in_order(event: OrderPlaced, session: AsyncSession) -> None:
    """Lock the order, as requests do."""
    order = await session.get_one(Order, event.order_id)
    order.reserved += 1


@pytest.fixture
async def shop(postgres_url: str, anyio_backend: str) -> AsyncIterator[Shop]:
    """The application with one handler, which takes what is about an order one by one."""
    async with open_shop(postgres_url, anyio_backend, Ordered(reserve_in_order)) as shop:
        async with shop.outbox.running():
            pass  # it makes the tables
        yield shop


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a server can use, which does not run as root."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


async def scalar(shop: Shop, sql: str) -> Any:
    async with shop.engine.connect() as connection:
        return await connection.scalar(sa.text(sql))


async def lanes(shop: Shop) -> list[tuple[int, bool]]:
    """Return which orders the rows of lanes are about, in their order, and what is blocked."""
    row, event = tables.deliveries.c, tables.events.c
    columns = sa.select(event.subject, row.blocked).join(tables.events).order_by(row.position)
    async with shop.session() as session:
        return [(int(subject), blocked) for subject, blocked in await session.execute(columns)]


async def test_a_session_locks_no_lane_before_its_last_flush(shop: Shop) -> None:
    """Or it would wait for a row that a handler has, which waits for the lane: a deadlock."""
    await shop.order(1)
    async with shop.session() as session:
        (await session.get_one(Order, 1)).reserved += 10
        await shop.outbox.record(session, OrderPlaced(1), about=1)
        assert await scalar(shop, LOCKS_OF_LANES) == 0

        async with shop.outbox.running():
            await until(shop.is_done)  # what was committed before: nothing is in its way
        await session.commit()

    assert await lanes(shop) == [(1, False), (1, False)]


async def test_requests_that_record_about_the_same_in_another_order_do_not_fail(shop: Shop) -> None:
    """All lanes of a transaction are locked with one statement, whichever was recorded first."""
    meeting = [anyio.Event(), anyio.Event()]

    async def request(first: int, then: int) -> None:
        async with shop.session() as session, session.begin():
            await shop.outbox.record(session, OrderPlaced(first), about=first)
            meeting[first].set()
            await meeting[then].wait()
            await shop.outbox.record(session, OrderPlaced(then), about=then)

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(request, 0, 1)
            group.start_soon(request, 1, 0)

    blocked = sorted(await lanes(shop))
    assert blocked == [(0, False), (0, True), (1, False), (1, True)]


async def test_a_lane_has_one_head_whoever_has_recorded_first(shop: Shop) -> None:
    """Its order is that of the commits: places are taken when the lane is locked."""
    async with shop.session() as early, shop.session() as late:
        await shop.outbox.record(early, OrderPlaced(1), about=7)
        await shop.outbox.record(late, OrderPlaced(2), about=7)
        await late.commit()
        await early.commit()

    row, event = tables.deliveries.c, tables.events.c
    stored = sa.select(event.data, row.blocked, row.position - event.position)
    async with shop.session() as session:
        found = await session.execute(stored.join(tables.deliveries).order_by(row.position))
        assert [tuple(each) for each in found] == [
            ('{"order_id":2}', False, 0),
            ('{"order_id":1}', True, 0),
        ]


async def commits_its_connection(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def sends_a_commit(session: AsyncSession) -> None:
    await session.execute(sa.text("COMMIT"))


@pytest.mark.parametrize("ending", [commits_its_connection, sends_a_commit])
async def test_what_is_committed_below_the_session_is_found(shop: Shop, ending: Any) -> None:
    """Nobody was asked before that commit, so a worker gives it its place."""
    async with shop.session() as session:
        session.add(Order(id=1))
        await session.flush()
        for _ in range(2):
            await shop.outbox.record(session, OrderPlaced(1), about=1)
        await ending(session)

    async with shop.outbox.running():
        await until(shop.is_done)

    assert await shop.reserved() == [2]


async def test_a_session_with_two_phases_takes_its_places_before_the_first(
    folder: Path, free_tcp_port: int, anyio_backend: str
) -> None:
    """SQLAlchemy says nothing of a COMMIT then, and PREPARE TRANSACTION keeps the locks."""
    server = Server(folder / "server", free_tcp_port)
    await to_thread.run_sync(server.make)
    await to_thread.run_sync(server.start)
    try:
        async with open_shop(server.url, anyio_backend, Ordered(reserve_in_order)) as shop:
            async with shop.outbox.running():
                pass  # it makes the tables
            await to_thread.run_sync(in_two_phases, server.url, shop)

            assert await lanes(shop) == [(1, False), (1, True)]
    finally:
        await to_thread.run_sync(server.stop)


def in_two_phases(url: str, shop: Shop) -> None:
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with Session(engine, twophase=True) as session, session.begin():
        for _ in range(2):
            shop.outbox.record_sync(session, OrderPlaced(1), about=1)
    engine.dispose()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_an_old_snapshot_does_not_break_the_order(shop: Shop, level: str) -> None:
    """It does not show what was committed meanwhile, so what is recorded there is blocked."""
    async with shop.session() as session, session.begin():
        session.add(Order(id=1))
    careful = shop.engine.execution_options(isolation_level=level)
    async with AsyncSession(careful) as late:
        await late.execute(sa.select(tables.events.c.id))  # its snapshot
        async with shop.session() as early, early.begin():
            await shop.outbox.record(early, OrderPlaced(1), about=1)
        await shop.outbox.record(late, OrderPlaced(1), about=1)
        await late.commit()

    assert await lanes(shop) == [(1, False), (1, True)]
    async with shop.outbox.running():
        await until(shop.is_done)
    assert await shop.reserved() == [2]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_what_an_old_snapshot_has_blocked_goes_on_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, level: Any
) -> None:
    """The worker of the process is told; others look within a minute."""
    monkeypatch.setattr(worker, "UNBLOCK_SECONDS", 1000.0)
    async with shop.session() as session, session.begin():
        session.add(Order(id=1))
    careful = shop.engine.execution_options(isolation_level=level)
    async with shop.outbox.running():
        for number in (1, 2):
            async with AsyncSession(careful) as session:
                await shop.outbox.record(session, OrderPlaced(1), about=1)
                await session.commit()
            await until(shop.is_done)
            assert await shop.reserved() == [number]


async def test_handlers_that_record_about_each_other_do_not_wait_for_each_other(
    postgres_url: str, anyio_backend: str
) -> None:
    """Each locks the lane that it completes, and those that it records in, with one statement."""
    there = [anyio.Event(), anyio.Event()]
    attempts = list[int]()

    async def tell(event: OrderPlaced, session: AsyncSession) -> None:
        number = event.order_id
        if number >= 10:
            return
        attempts.append(number)
        await this.outbox.record(session, OrderPlaced(number + 10), about=1 - number)
        there[number].set()
        await there[1 - number].wait()

    opening = open_shop(postgres_url, anyio_backend, Ordered(tell))
    async with opening as this, this.outbox.running():
        for number in (0, 1):
            async with this.session() as session, session.begin():
                await this.outbox.record(session, OrderPlaced(number), about=number)
        await until(this.is_done)

    assert sorted(attempts) == [0, 1]
