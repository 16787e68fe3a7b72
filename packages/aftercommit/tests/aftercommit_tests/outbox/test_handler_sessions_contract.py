"""What a handler does with its session, and what it cannot do: its effect and its delivery are one.

On each event loop with each database: what is under way when a handler ends differs by driver.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest
from aftercommit.errors import WiringError
from anyio.lowlevel import checkpoint
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import Order, OrderPlaced, Shop, open_shop, reserve, until

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

QUICK: dict[str, Any] = {"retry_initial_seconds": 0.01, "retry_max_seconds": 0.01}
LEFT_BEHIND = 100  # what a task adds that a handler has left behind

Ending = Callable[[], Awaitable[object]]


@asynccontextmanager
async def running_shop(
    url: str, backend: str, *handlers: Any, **settings: Any
) -> AsyncIterator[Shop]:
    """The application with these handlers, while its outbox runs."""
    opening = open_shop(url, backend, *handlers, **(QUICK | settings))
    async with opening as shop, shop.outbox.running():
        yield shop


async def reserve_again(session: AsyncSession, order_id: int, count: int = 1) -> None:
    this = update(Order).where(Order.id == order_id)
    await session.execute(this.values(reserved=Order.reserved + count))


async def fails() -> None:
    raise OSError("the mail server is down")


async def returns() -> None:
    """Return, as if all were done."""


@pytest.mark.parametrize(("ends", "orders"), [(fails, 24), (returns, 24), (anyio.sleep_forever, 4)])
async def test_a_task_that_a_handler_leaves_behind_has_no_effect_alone(
    database_url: str, anyio_backend: str, ends: Ending, orders: int
) -> None:
    """`gather` leaves one when another of its tasks fails: SQLite would store what it does then.

    What it does until its handler returns is committed with that, or refused with it.
    """
    runs = Counter[int]()

    async def leaves_a_task(event: OrderPlaced, session: AsyncSession) -> None:
        async def goes_on() -> None:
            for _ in range(event.order_id % 7):
                await checkpoint()
            with suppress(SQLAlchemyError, WiringError):
                await reserve_again(session, event.order_id, LEFT_BEHIND)

        runs[event.order_id] += 1
        await reserve_again(session, event.order_id)
        if runs[event.order_id] == 1:
            others.start_soon(goes_on)
            for _ in range(event.order_id % 11):
                await checkpoint()
            await ends()

    limit = {"handler_timeout_seconds": 1.0} if ends is anyio.sleep_forever else {}
    opening = running_shop(database_url, anyio_backend, leaves_a_task, **limit)
    async with anyio.create_task_group() as others, opening as shop:
        for number in range(1, orders + 1):
            await shop.order(number)
        await until(shop.is_done)
        reserved = await shop.reserved()

    assert len(reserved) == orders
    assert set(reserved) <= ({1, 1 + LEFT_BEHIND} if ends is returns else {1})


async def says(session: AsyncSession, statement: str) -> None:
    await session.execute(text(statement))


async def asks_the_driver(session: AsyncSession) -> None:
    connection = await session.connection()
    raw: Any = await connection.get_raw_connection()
    driver = raw.driver_connection
    rollback = getattr(driver, "rollback", None) or partial(driver.execute, "ROLLBACK")
    if connection.dialect.driver == "anyio":  # its driver is a synchronous one, in a thread
        await connection.run_sync(lambda _: raw.dbapi_connection.run_in_thread(rollback))
    else:
        await rollback()


async def swallows(session: AsyncSession) -> None:
    """Insert what is there, in words of SQLite that end the transaction, and go on."""
    with pytest.raises(IntegrityError):
        await says(session, "INSERT OR ROLLBACK INTO orders (id, reserved) SELECT 1, 0")
    await reserve_again(session, 1)


ENDED = "a handler has ended its transaction"
LEAVE_OUT = "leave it out of handlers"
BELOW: dict[str, tuple[str, Callable[[AsyncSession], Awaitable[object]]]] = {
    "ROLLBACK": (LEAVE_OUT, lambda session: says(session, "ROLLBACK")),
    "COMMIT": (LEAVE_OUT, lambda session: says(session, "-- at last\n /* : */ commit")),
    "a call of the driver": (ENDED, asks_the_driver),
    "a conflict that ends it": (ENDED, swallows),
    "invalidate": (LEAVE_OUT, lambda session: session.invalidate()),
    "reset": (LEAVE_OUT, lambda session: session.reset()),
}


@pytest.mark.parametrize(("problem", "ending"), BELOW.values(), ids=BELOW)
async def test_a_transaction_that_ends_below_sqlalchemy_is_no_success(
    database_url: str,
    anyio_backend: str,
    problem: str,
    ending: Callable[[AsyncSession], Awaitable[object]],
) -> None:
    """The delivery would be done without its effect, or the effect there without its delivery."""
    if ending is swallows and not database_url.startswith("sqlite"):
        return  # PostgreSQL has no such words

    async def ends(event: OrderPlaced, session: AsyncSession) -> None:
        await reserve_again(session, event.order_id)
        await ending(session)

    async with running_shop(database_url, anyio_backend, ends) as shop:
        await shop.order(1)
        await until(shop.last_error)

        assert problem in await shop.last_error()
        assert await shop.reserved() == [0]
        async with shop.session() as session:
            await shop.place(session, 2)
            with pytest.raises(WiringError):
                await shop.outbox.deliver(session)


async def test_a_commit_behind_another_statement_is_refused(
    database_url: str, anyio_backend: str
) -> None:
    """One driver executes both: the work before would be stored once for each attempt."""

    async def ends(event: OrderPlaced, session: AsyncSession) -> None:
        await says(session, "SELECT ';' ; commit")

    async with running_shop(database_url, anyio_backend, ends) as shop:
        await shop.order(1)
        await until(shop.last_error)

        assert LEAVE_OUT in await shop.last_error()


async def test_a_savepoint_of_a_handler_may_be_rolled_back(
    database_url: str, anyio_backend: str
) -> None:
    """It is what handlers have for what may fail, also in words of SQL."""

    async def tries(event: OrderPlaced, session: AsyncSession) -> None:
        with suppress(IntegrityError):
            async with session.begin_nested():
                session.add(Order(id=event.order_id))
        for words in ("SAVEPOINT mine", "ROLLBACK TO mine", "RELEASE mine"):
            await says(session, words)
        await reserve_again(session, event.order_id)

    async with running_shop(database_url, anyio_backend, tries) as shop:
        await shop.order(1)
        await until(shop.is_done)

        assert await shop.reserved() == [1]


async def test_an_error_of_the_database_that_a_handler_swallows_counts(
    postgres_url: str, anyio_backend: str
) -> None:
    """PostgreSQL refuses all that follows. That is no outage, after which it is tried forever."""

    async def swallows(event: OrderPlaced, session: AsyncSession) -> None:
        with suppress(IntegrityError):
            await says(session, f"INSERT INTO orders (id, reserved) VALUES ({event.order_id}, 0)")

    async with running_shop(postgres_url, anyio_backend, swallows, max_attempts=2) as shop:
        await shop.order(1)
        columns = tables.deliveries.c

        async def is_parked() -> bool:
            return [row for (row,) in await shop.rows(columns.parked_at)] != [None]

        await until(is_parked)
        rows = await shop.rows(columns.attempts, columns.unavailable_attempts)
        assert [tuple(row) for row in rows] == [(2, 0)]
        assert "a handler has swallowed an error of the database" in await shop.last_error()


@pytest.mark.parametrize("options", [{"twophase": True}, {"autobegin": False}], ids=str)
async def test_a_handler_has_the_sessions_of_the_application_whatever_their_options(
    database_url: str, anyio_backend: str, options: dict[str, Any]
) -> None:
    """Its transaction is that of the delivery, which has begun, and is committed as it is."""
    new_session = async_sessionmaker(**options)
    async with running_shop(database_url, anyio_backend, reserve, session=new_session) as shop:
        await shop.order(1)
        await until(shop.is_done)

        assert await shop.reserved() == [1]


@pytest.mark.parametrize(
    "setting", ["SET work_mem = '1MB'", "SELECT set_config('work_mem', '1MB', false)"]
)
async def test_what_a_handler_sets_in_its_connection_ends_with_it(
    postgres_url: str, anyio_backend: str, setting: str
) -> None:
    """The next handler has another connection: it would find no tables in this one."""
    order_ids = list[int]()

    async def leaves_its_schema(event: OrderPlaced, session: AsyncSession) -> None:
        await reserve_again(session, event.order_id)
        order_ids.append(event.order_id)
        if event.order_id < 10:
            await says(session, setting)
        else:
            assert await session.scalar(text("SHOW work_mem")) != "1MB"

    async with running_shop(postgres_url, anyio_backend, leaves_its_schema) as shop:
        for number in (*range(1, 5), *range(10, 20)):
            await shop.order(number)
        await until(shop.is_done)

    assert sorted(order_ids) == [*range(1, 5), *range(10, 20)]


async def test_a_lock_that_a_handler_takes_for_its_session_ends_with_it(
    postgres_url: str, anyio_backend: str
) -> None:
    """Its connection is closed; in the pool, it would keep the lock from everybody."""

    async def locks(event: OrderPlaced, session: AsyncSession) -> None:
        await says(session, "SELECT pg_advisory_lock(7)")

    async with running_shop(postgres_url, anyio_backend, locks) as shop:
        await shop.order(1)
        await until(shop.is_done)
        locked = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7")

        async def is_free() -> bool:
            async with shop.engine.connect() as connection:
                return bool(await connection.scalar(locked) == 0)

        await until(is_free)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_whatever_ends_the_body_leaves_as_it_is(
    database_url: str, anyio_backend: str, error: BaseException
) -> None:
    """Python would not take a group for the wish to end the program, and ignore its exit code."""
    async with open_shop(database_url, anyio_backend) as shop:
        with pytest.raises(type(error)):
            async with shop.outbox.running():
                raise error
