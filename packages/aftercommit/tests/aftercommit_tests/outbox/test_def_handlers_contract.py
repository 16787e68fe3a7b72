"""Handlers made with `def`: each runs in a thread, and takes effect as an `async` one does.

On each event loop with each database: what a thread waits for is awaited by another driver each.
"""

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Event, Thread
from typing import Any

import anyio
import pytest
from aftercommit import IdempotencyKey, Limited, Ordered
from aftercommit.errors import WiringError
from sqlalchemy import text, update
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker

from aftercommit_tests.inside.process import handler_thread
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS, PATIENT
from aftercommit_tests.outbox.orders import (
    Order,
    OrderPlaced,
    Shop,
    StockReserved,
    open_shop,
    reserve,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

QUICK: dict[str, Any] = {"retry_initial_seconds": 0.01, "retry_max_seconds": 0.01}
SHORT: dict[str, Any] = {"handler_timeout_seconds": 0.5}
SHORT_LEASE: dict[str, Any] = SHORT | {"lease_seconds": 2.0}
SLOW = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) "
    "SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


@pytest.fixture
def released() -> Iterator[Event]:
    """What a handler waits for that takes too long; at the end of the test, it comes."""
    event = Event()
    yield event
    event.set()
    for thread in [*handler_thread._abandoned]:
        thread.join(LIMIT_SECONDS)


@asynccontextmanager
async def running_shop(
    url: str, backend: str, *handlers: Any, **settings: Any
) -> AsyncIterator[Shop]:
    opening = open_shop(url, backend, *handlers, **(QUICK | settings))
    async with opening as shop, shop.outbox.running():
        yield shop


def reserve_in_thread(event: OrderPlaced, session: Session) -> None:
    """Have an effect in the database: load, change, and let it be flushed."""
    session.get_one(Order, event.order_id, with_for_update=True).reserved += 1


def reserve_again(session: Session, order_id: int, count: int = 1) -> None:
    this = update(Order).where(Order.id == order_id)
    session.execute(this.values(reserved=Order.reserved + count))


async def test_both_kinds_of_handlers_take_effect_once(
    database_url: str, anyio_backend: str
) -> None:
    """Many at a time, in one table, with savepoints, and with events that they record."""
    keys, noted = list[str](), list[int]()

    def confirm(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)

    async def reserve_too(event: OrderPlaced, session: AsyncSession) -> None:
        await session.run_sync(reserve_again, event.order_id)

    def note(event: OrderPlaced, session: Session) -> None:
        noted.append(event.order_id)
        with session.begin_nested() as savepoint:
            reserve_again(session, event.order_id, 100)
            savepoint.rollback()
        shop.outbox.record_sync(session, StockReserved(event.order_id), about=event.order_id)

    orders = range(1, 31)
    handlers = reserve_in_thread, reserve_too, confirm, Ordered(note)
    async with running_shop(database_url, anyio_backend, *handlers) as shop:
        for number in orders:
            async with shop.session() as session, session.begin():
                session.add(Order(id=number))
                await shop.outbox.record(session, OrderPlaced(number), about="the till")
        await until(shop.is_done)

        assert await shop.reserved() == [2] * len(orders)
        assert len({*keys}) == len(keys) == len(orders)
        assert noted == [*orders]
        caused = await shop.rows(tables.events.c.type, tables.events.c.handler)
        assert Counter(map(tuple, caused)) == {
            ("order_placed", None): len(orders),
            ("stock_reserved", "note"): len(orders),
        }
        assert await shop.last_error() == ""


async def test_a_handler_that_raises_has_changed_nothing(
    database_url: str, anyio_backend: str
) -> None:
    """It is tried again. What it raises is stored as it is."""
    attempts = Counter[int]()

    def fails_once(event: OrderPlaced, session: Session) -> None:
        reserve_in_thread(event, session)
        session.flush()
        attempts[event.order_id] += 1
        if attempts[event.order_id] == 1:
            raise OSError("the printer is off")

    async with running_shop(database_url, anyio_backend, fails_once) as shop:
        for number in range(1, 6):
            await shop.order(number)
        await until(shop.is_done)

        assert await shop.reserved() == [1] * 5
        assert set(attempts.values()) == {2}


async def test_a_handler_over_its_time_changes_nothing_any_more(
    database_url: str, anyio_backend: str, released: Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Its thread goes on to its next statement, which fails; so it is said that effects overlap."""
    runs, late = Counter[int](), list[Exception]()

    def hangs_once(event: OrderPlaced, session: Session) -> None:
        reserve_again(session, event.order_id)
        runs[event.order_id] += 1
        if runs == {1: 1}:
            released.wait(LIMIT_SECONDS)
            for _ in range(2):
                try:
                    reserve_again(session, event.order_id, 100)
                except ResourceClosedError as error:
                    late.append(error)
            raise OSError("which nobody hears")

    async def has_ended() -> bool:
        return len(late) == 2

    async with running_shop(database_url, anyio_backend, hangs_once, **SHORT) as shop:
        await shop.order(1)
        await until(shop.is_done)
        assert await shop.reserved() == [1]

        with caplog.at_level(logging.INFO):
            released.set()
            await until(has_ended)
        await shop.order(2)
        await until(shop.is_done)
        assert await shop.reserved() == [1, 1]

    assert runs == {1: 2, 2: 1}
    assert "hangs_once goes on in its thread, although its attempt has ended" in caplog.text
    assert "hangs_once took longer than 0.5 s" in caplog.text


async def test_a_statement_that_takes_too_long_is_ended_with_its_transaction(
    database_url: str, anyio_backend: str, released: Event
) -> None:
    """Also if the thread keeps what it has of it: SQLite would keep its lock."""
    runs = Counter[int]()

    def is_slow_once(event: OrderPlaced, session: Session) -> None:
        reserve_again(session, event.order_id)
        runs[event.order_id] += 1
        if runs[event.order_id] == 1:
            try:
                session.execute(text(SLOW[session.get_bind().dialect.name]))
            except ResourceClosedError:
                released.wait(LIMIT_SECONDS)

    async with open_shop(database_url, anyio_backend, is_slow_once, **QUICK, **SHORT) as shop:
        for number in (1, 2, 3):
            await shop.order(number)
        async with shop.outbox.running():
            await until(shop.is_done)

        assert await shop.reserved() == [1, 1, 1]


async def test_an_effect_that_takes_too_long_is_repeated_with_its_key(
    database_url: str, anyio_backend: str, released: Event
) -> None:
    """Beyond its lease, both may be under way: the receiver recognizes the second by its key."""
    keys = list[str]()

    def sends(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
        keys.append(idempotency_key)
        if len(keys) == 1:
            released.wait(LIMIT_SECONDS)

    async with running_shop(database_url, anyio_backend, sends, **SHORT_LEASE) as shop:
        await shop.order(1)
        await until(shop.is_done)

    assert len(keys) == 2
    assert len({*keys}) == 1


def one_at_once(handler: Any) -> Any:
    return Limited(handler, at_once=1)


@pytest.mark.parametrize("kind", [Ordered, one_at_once])
async def test_a_thread_over_its_time_is_not_overtaken(
    database_url: str, anyio_backend: str, released: Event, kind: Callable[[Any], Any]
) -> None:
    """It cannot be stopped. Its attempt goes on with it, and is done if it returns after all."""
    begun, told = Event(), list[int]()

    def tell(event: OrderPlaced) -> None:
        begun.set()
        if event.order_id == 1:
            released.wait(LIMIT_SECONDS)
        told.append(event.order_id)

    async def hangs_once(event: OrderPlaced, idempotency_key: IdempotencyKey) -> None:
        if event.order_id == 2 and not released.is_set():
            await anyio.sleep_forever()

    async def has_begun() -> bool:
        return begun.is_set()

    async def is_over() -> bool:
        return "hangs_once took longer than 0.5 s" in await shop.last_error()

    async with running_shop(database_url, anyio_backend, kind(tell), hangs_once, **SHORT) as shop:
        for number in (1, 2):
            async with shop.session() as session, session.begin():
                await shop.outbox.record(session, OrderPlaced(number), about="the till")
            await until(has_begun)
        await until(is_over)  # and so is the time of the thread, which had begun before
        assert told == []
        released.set()
        await until(shop.is_done)

        row = tables.deliveries.c
        attempts = map(tuple, await shop.rows(row.handler, row.attempts))
        assert Counter(attempts)["tell", 1] == 2
    assert told == [1, 2]


@pytest.mark.parametrize("with_session", [True, False])
async def test_a_thread_that_sleeps_does_not_hold_up_the_end(
    database_url: str, anyio_backend: str, released: Event, with_session: bool
) -> None:
    """Its delivery is given back; the process may go."""
    begun, woken = Event(), list[bool]()

    def sleeps(event: OrderPlaced, session: Session) -> None:
        reserve_again(session, event.order_id)
        sends(event)

    def sends(event: OrderPlaced) -> None:
        begun.set()
        woken.append(released.wait(LIMIT_SECONDS))

    async def has_begun() -> bool:
        return begun.is_set()

    handler = sleeps if with_session else sends
    short = {"shutdown_grace_seconds": 0.1, **PATIENT}
    async with open_shop(database_url, anyio_backend, handler, **short) as shop:
        async with shop.outbox.running():
            await shop.order(1)
            await until(has_begun)

        assert woken == [], "it sleeps"
        assert await shop.pending() == [handler.__name__]
        assert await shop.reserved() == [0]
        assert [owner for (owner,) in await shop.rows(tables.deliveries.c.owner)] == [None]


async def test_threads_that_go_on_are_bounded(
    database_url: str, anyio_backend: str, released: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that is not begun because of them is not at fault: that is no attempt."""
    monkeypatch.setattr(handler_thread, "MAX_ABANDONED", 2)
    begun = list[int]()

    def hangs(event: OrderPlaced, session: Session) -> None:
        begun.append(event.order_id)
        if not released.is_set():
            released.wait(LIMIT_SECONDS)

    async def is_refused() -> bool:
        return "2 threads of handlers go on after their time, of hangs" in await shop.last_error()

    limits = SHORT_LEASE | {"max_attempts": 3, "worker_concurrency": 1}
    async with running_shop(database_url, anyio_backend, hangs, **limits) as shop:
        await shop.order(1)
        await until(is_refused)
        assert begun == [1, 1]

        released.set()
        await until(shop.is_done)
        attempts = await shop.rows(tables.deliveries.c.attempts)
        assert [count for (count,) in attempts] == [3]


ENDINGS: dict[str, Callable[[Session], Any]] = {
    r"leave it out of handlers.*session\.commit\(\)": lambda session: session.commit(),
    r"leave it out of handlers.*session\.rollback\(\)": lambda session: session.rollback(),
    r"leave it out of handlers.*session\.close\(\)": lambda session: session.__exit__(None, 0, 0),
    r"leave it out of handlers.*connection\.commit\(\)": lambda s: s.connection().commit(),
    "a handler has ended its transaction": lambda session: session.connection().rollback(),
}


@pytest.mark.parametrize(("problem", "ending"), ENDINGS.items(), ids=ENDINGS)
async def test_a_handler_that_ends_its_transaction_is_told_not_to(
    database_url: str, anyio_backend: str, problem: str, ending: Callable[[Session], Any]
) -> None:
    """As an `async` one, also in a test."""

    def ends(event: OrderPlaced, session: Session) -> None:
        reserve_again(session, event.order_id)
        ending(session)

    async with open_shop(database_url, anyio_backend, ends) as shop:
        async with shop.outbox.running():
            await shop.order(1)
            await until(shop.last_error)

        assert re.search(problem, await shop.last_error())
        assert await shop.reserved() == [0]
        async with shop.session() as session:
            await shop.place(session, 2)
            with pytest.raises(WiringError, match=problem):
                await shop.outbox.deliver(session)


async def test_a_thread_that_a_handler_leaves_behind_changes_nothing(
    database_url: str, anyio_backend: str, released: Event
) -> None:
    """Its session has ended with the handler."""
    errors = list[Exception]()

    def leaves_a_thread(event: OrderPlaced, session: Session) -> None:
        def goes_on() -> None:
            released.wait(LIMIT_SECONDS)
            try:
                reserve_again(session, event.order_id, 100)
            except ResourceClosedError as error:
                errors.append(error)

        reserve_again(session, event.order_id)
        Thread(target=goes_on).start()

    async def is_refused() -> bool:
        return len(errors) == 1

    async with running_shop(database_url, anyio_backend, leaves_a_thread) as shop:
        await shop.order(1)
        await until(shop.is_done)
        released.set()
        await until(is_refused)
        assert await shop.reserved() == [1]


async def test_a_connection_that_is_lost_fails_the_attempt_and_no_other(
    postgres_url: str, anyio_backend: str, recwarn: pytest.WarningsRecorder
) -> None:
    """The event loop ends it, and not the thread; the database is down, so it is no attempt."""
    runs = Counter[int]()

    def loses_its_connection(event: OrderPlaced, session: Session) -> None:
        reserve_again(session, event.order_id)
        runs[event.order_id] += 1
        if runs[event.order_id] == 1:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    async with running_shop(postgres_url, anyio_backend, loses_its_connection) as shop:
        for number in range(1, 9):
            await shop.order(number)
        await until(shop.is_done)

        assert await shop.reserved() == [1] * 8
        rows = await shop.rows(
            tables.deliveries.c.attempts, tables.deliveries.c.unavailable_attempts
        )
        assert {tuple(row) for row in rows} == {(1, 1)}
    assert [str(each.message) for each in recwarn] == []


class OurSession(Session):
    """A class of the application, such as SQLModel's."""


def reserve_in_ours(event: OrderPlaced, session: OurSession) -> None:
    """Have an effect in such a session."""
    reserve_in_thread(event, session)


async def test_sessions_are_made_as_the_application_makes_them(
    database_url: str, anyio_backend: str
) -> None:
    """Of its class, with its options; `async` handlers have them, too, within their own kind."""
    seen = set[Any]()

    def look(event: OrderPlaced, session: OurSession) -> None:
        seen.add(("def", isinstance(session, OurSession), session.autoflush))

    async def look_too(event: OrderPlaced, session: AsyncSession) -> None:
        seen.add(("async", isinstance(session.sync_session, OurSession), session.autoflush))

    handlers = reserve_in_ours, look, look_too
    new_session = sessionmaker(class_=OurSession, autoflush=False)
    async with running_shop(database_url, anyio_backend, *handlers, session=new_session) as shop:
        await shop.order(1)
        await until(shop.is_done)

        assert seen == {("def", True, False), ("async", True, False)}
        assert await shop.reserved() == [1]


async def test_tests_of_an_application_deliver_to_them_in_their_own_session(
    database_url: str, anyio_backend: str
) -> None:
    """A fixture rolls all of it back; what a handler raises is raised there."""
    async with open_shop(database_url, anyio_backend, reserve_in_thread, reserve) as shop:
        async with shop.outbox.running():
            pass
        async with shop.session() as session:
            await shop.place(session, 1)
            assert await shop.outbox.deliver(session) == 2
            assert (await session.get_one(Order, 1)).reserved == 2
        assert await shop.rows(Order.id) == []

    opening = open_shop(database_url, anyio_backend, reserve_in_thread, fails_for_all)
    async with opening as shop, shop.session() as session:
        await shop.place(session, 1)
        with pytest.raises(ZeroDivisionError):
            await shop.outbox.deliver(session)


def fails_for_all(event: OrderPlaced) -> None:
    """Fail."""
    raise ZeroDivisionError
