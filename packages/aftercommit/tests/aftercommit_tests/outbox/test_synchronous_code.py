"""Applications without an event loop: they deliver in a session, or have a thread with one."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Barrier, Event, Thread
from time import monotonic, sleep
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy as sa
from aftercommit import InvalidValue, Ordered, Outbox, Unavailable, on
from aftercommit.alembic import upgrade_tables
from aftercommit.errors import UnexpectedAnswer, WiringError
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.sqlite import prepare
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from aftercommit_tests.inside.process import worker as workers
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS, PATIENT
from aftercommit_tests.outbox.orders import Base, Order, OrderPlaced, StockReserved

Sessions = sessionmaker[Session]


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """What makes sessions of synchronous code, on a database with the orders."""
    engine = sa.create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    prepare(engine)
    Base.metadata.create_all(engine)
    yield sessionmaker(engine)
    engine.dispose()


def reserve(event: OrderPlaced, session: Session) -> None:
    """Have an effect in the database."""
    session.get_one(Order, event.order_id, with_for_update=True).reserved += 1


def confirm(event: OrderPlaced) -> None:
    """Have an effect outside."""


async def confirm_later(event: OrderPlaced) -> None:
    """Have an effect outside, on an event loop."""
    await anyio.lowlevel.checkpoint()


async def reserve_later(event: OrderPlaced, session: AsyncSession) -> None:
    """Have an effect in the database, on an event loop."""
    (await session.get_one(Order, event.order_id, with_for_update=True)).reserved += 1


def an_outbox(url: str, *handlers: Any, **settings: Any) -> Outbox:
    return Outbox("shop", url, [on(OrderPlaced, *handlers), on(StockReserved)], **settings)


def order(outbox: Outbox, session: Any, number: int) -> None:
    session.add(Order(id=number))
    outbox.record_sync(session, OrderPlaced(number), about=number)


def until_done(sessions: Sessions) -> None:
    """Wait until the worker has come so far, with a limit."""
    left = sa.select(sa.func.count()).where(tables.deliveries.c.completed_at.is_(None))
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        with sessions() as session:
            if session.scalar(left) == 0:
                return
        sleep(0.02)
    raise AssertionError("it has not come so far")


def reserved(sessions: Sessions) -> list[int]:
    with sessions() as session:
        return [*session.scalars(sa.select(Order.reserved).order_by(Order.id))]


@contextmanager
def tables_made(outbox: Outbox) -> Iterator[None]:
    with outbox.running_sync():
        pass
    yield


def test_a_worker_runs_in_a_thread(database_url: str, sessions: Sessions) -> None:
    """It is there when the body begins, and has ended after it."""
    outbox = an_outbox(database_url, reserve, confirm, reserve_later, confirm_later)
    with outbox.running_sync():
        for number in range(1, 6):
            with sessions.begin() as session:
                order(outbox, session, number)
            until_done(sessions)
    with sessions.begin() as session:
        order(outbox, session, 6)

    assert reserved(sessions) == [2] * 5 + [0]


def test_sessions_of_a_registry_can_record(database_url: str, sessions: Sessions) -> None:
    """Such as the `db.session` of Flask-SQLAlchemy."""
    outbox, registry = an_outbox(database_url, reserve, confirm), scoped_session(sessions)
    with outbox.running_sync():
        assert outbox.once_sync(registry, "shop.example", "request-1")
        order(outbox, registry, 1)
        registry.commit()
        until_done(sessions)
        order(outbox, registry, 2)
        assert outbox.deliver_sync(registry) == 2
        registry.remove()

    assert reserved(sessions) == [1]


def test_tests_deliver_in_their_own_session(database_url: str, sessions: Sessions) -> None:
    """And roll it back. Each kind of handler runs that can, in its order, with what it causes."""
    taken = list[Any]()

    def take(event: OrderPlaced, session: Session) -> None:
        taken.append(event.order_id)
        if event.order_id < 10:
            outbox.record_sync(session, OrderPlaced(event.order_id + 10), about="the till")

    async def take_later(event: OrderPlaced) -> None:
        taken.append(f"{event.order_id}, later")

    outbox = an_outbox(database_url, Ordered(take), take_later)
    with tables_made(outbox), sessions() as session:
        outbox.record_sync(session, OrderPlaced(1), OrderPlaced(2), about="the till")
        with session.begin_nested() as savepoint:
            outbox.record_sync(session, OrderPlaced(3), about="the till")
            savepoint.rollback()
        assert outbox.deliver_sync(session) == 8

        assert [each for each in taken if isinstance(each, int)] == [1, 2, 11, 12]
        later = sorted(each for each in taken if isinstance(each, str))
        assert later == ["1, later", "11, later", "12, later", "2, later"]
        assert outbox.deliver_sync(session) == 0
        session.rollback()
        assert session.scalars(sa.select(tables.events.c.id)).all() == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])  # blockbuster looks at asyncio
async def test_it_can_be_delivered_where_an_event_loop_runs(
    database_url: str, sessions: Sessions, anyio_backend: str
) -> None:
    """As in the test of an endpoint that is asynchronous, with a synchronous database."""
    outbox = an_outbox(database_url, reserve, confirm_later)
    async with outbox.running():
        pass
    with sessions() as session:
        order(outbox, session, 1)
        session.flush()
        assert outbox.deliver_sync(session) == 2
        assert session.get_one(Order, 1).reserved == 1


def test_what_cannot_be_delivered_there_is_said(database_url: str, sessions: Sessions) -> None:
    """A handler that has to await its session; and what a handler raises is raised."""

    def fails(event: OrderPlaced, session: Session) -> None:
        raise ZeroDivisionError

    def commits(event: OrderPlaced, session: Session) -> None:
        session.commit()

    def returns(event: OrderPlaced) -> None:
        return 1  # type: ignore[return-value]

    problems: list[tuple[Any, type[Exception], str | None]] = [
        (returns, UnexpectedAnswer, "returns returned int"),
        (reserve_later, WiringError, "deliver_sync has a Session, .*cannot await.*reserve_later"),
        (fails, ZeroDivisionError, None),
        (commits, WiringError, r"leave it out of handlers.*session\.commit\(\)"),
    ]
    for handler, kind, problem in problems:
        outbox = an_outbox(database_url, handler)
        with tables_made(outbox), sessions() as session:
            order(outbox, session, 1)
            with pytest.raises(kind, match=problem):
                outbox.deliver_sync(session)
            assert session.get_one(Order, 1).reserved == 0  # and the session still works
    outbox = an_outbox(database_url, reserve)
    with pytest.raises(WiringError, match="deliver_sync needs a Session; .*there is deliver"):
        outbox.deliver_sync(AsyncSession())  # type: ignore[arg-type]


def test_a_worker_that_cannot_start_says_so(tmp_path: Path) -> None:
    """In the thread that wants it, and not only in the log."""
    outbox = an_outbox(f"sqlite:///{tmp_path}/none/shop.db", reserve)
    with pytest.raises(Unavailable, match="unable to open"), outbox.running_sync():
        raise AssertionError("it does not run")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_an_event_loop_is_not_blocked_by_it(tmp_path: Path, anyio_backend: str) -> None:
    """It would wait for the start and the end of the worker."""
    outbox = an_outbox(f"sqlite:///{tmp_path}/shop.db", reserve)
    refused = pytest.raises(WiringError, match=r"without an event loop.*running\(\)")
    with refused, outbox.running_sync():
        raise AssertionError("it does not run")


def test_it_ends_while_a_thread_sleeps(database_url: str, sessions: Sessions) -> None:
    """What the thread has begun is rolled back, and given back."""
    released, begun, woken = Event(), Event(), list[bool]()

    def sleeps(event: OrderPlaced, session: Session) -> None:
        reserve(event, session)
        session.flush()
        begun.set()
        woken.append(released.wait(LIMIT_SECONDS))

    outbox = an_outbox(database_url, sleeps, shutdown_grace_seconds=0.1, **PATIENT)
    with outbox.running_sync():
        with sessions.begin() as session:
            order(outbox, session, 1)
        assert begun.wait(LIMIT_SECONDS)
    assert woken == [], "it sleeps"
    assert reserved(sessions) == [0]
    released.set()


def test_a_worker_whose_event_loop_has_ended_gets_a_successor(
    database_url: str, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next commit: nobody else would notice that nothing is delivered any longer."""
    alone = [PostgreSQLExtension()]  # without services, whose tasks Python would miss
    outbox, runs = an_outbox(database_url, reserve, extensions=alone), list[Any]()
    run = workers.Worker.run

    async def fail_first(worker: Any, **options: Any) -> None:
        runs.append(worker)
        if len(runs) == 1:
            raise SystemExit(1)
        await run(worker, **options)

    monkeypatch.setattr(workers.Worker, "run", fail_first)
    with outbox.running_sync():
        [thread] = outbox._workers.threads
        thread._thread.join(LIMIT_SECONDS)
        with sessions.begin() as session:
            order(outbox, session, 1)
        until_done(sessions)

    assert reserved(sessions) == [1]


def test_commits_that_find_the_event_loop_closed_have_succeeded(
    database_url: str, sessions: Sessions
) -> None:
    """Two at the same moment, too: an error after a COMMIT would make its caller repeat it."""
    outbox, both = an_outbox(database_url, confirm), Barrier(2, timeout=LIMIT_SECONDS)
    errors = list[Exception]()

    def wake(stale_lanes: bool) -> None:
        both.wait()
        raise RuntimeError("Event loop is closed")

    def place(number: int) -> None:
        try:
            with sessions.begin() as session:
                order(outbox, session, number)
        except Exception as error:
            errors.append(error)

    outbox._workers.wakers.add((os.getpid(), wake))
    threads = [Thread(target=place, args=[number]) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert reserved(sessions) == [0, 0]


@pytest.mark.parametrize("given", ["an engine", "sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_for_tests_that_deliver(given: str) -> None:
    """A worker has connections of its own, so it would see another one: that is refused."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    prepare(engine)
    source: Any = engine if given == "an engine" else given
    outbox = Outbox("shop", source, [on(OrderPlaced, reserve, confirm)])
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        upgrade_tables(connection)

    with Session(engine) as session:
        order(outbox, session, 1)
        assert outbox.deliver_sync(session) == 2
        assert session.get_one(Order, 1).reserved == 1
    with (
        pytest.raises((InvalidValue, WiringError), match="database in memory"),
        outbox.running_sync(),
    ):
        raise AssertionError("it does not run")
    engine.dispose()


def test_handlers_run_in_the_context_of_the_application(
    database_url: str, sessions: Sessions
) -> None:
    """A new one each time, in their thread; it is not in the way of others."""
    depth: ContextVar[int] = ContextVar("depth", default=0)
    seen = list[int]()

    @contextmanager
    def context() -> Iterator[None]:
        token = depth.set(depth.get() + 1)
        yield
        depth.reset(token)

    def look(event: OrderPlaced, session: Session) -> None:
        reserve(event, session)
        seen.append(depth.get())

    def look_outside(event: OrderPlaced) -> None:
        seen.append(depth.get())

    outbox = an_outbox(database_url, look, look_outside, context=context)
    with outbox.running_sync():
        with sessions.begin() as session:
            order(outbox, session, 1)
        until_done(sessions)
    with sessions() as session:
        order(outbox, session, 2)
        assert outbox.deliver_sync(session) == 2

    assert seen == [1, 1, 1, 1]


def test_a_context_may_be_asynchronous(database_url: str, sessions: Sessions) -> None:
    """As somebody has to await the end of an `async_scoped_session`; `def` handlers see it, too."""
    request: ContextVar[int] = ContextVar("request")
    seen, ended = list[int](), list[int]()

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        token = request.set(7)
        try:
            yield
        finally:
            await anyio.lowlevel.checkpoint()
            ended.append(request.get())
            request.reset(token)

    def look(event: OrderPlaced, session: Session) -> None:
        reserve(event, session)
        seen.append(request.get())

    async def look_later(event: OrderPlaced, session: AsyncSession) -> None:
        await reserve_later(event, session)
        seen.append(request.get())

    def fail_once(event: OrderPlaced) -> None:
        if len(seen) < 4:
            seen.append(request.get())
            raise Unavailable("the other side is down")

    engine = sessions.kw["bind"]
    handlers = look, look_later, fail_once
    outbox = Outbox("shop", lambda: engine, [on(OrderPlaced, *handlers)], context=context)
    with outbox.running_sync():
        with sessions.begin() as session:
            order(outbox, session, 1)
        until_done(sessions)
    with sessions() as session:
        order(outbox, session, 2)
        with pytest.raises(WiringError, match="deliver_sync cannot enter an asynchronous context"):
            outbox.deliver_sync(session)

    assert reserved(sessions) == [2]
    assert set(seen) == set(ended) == {7}
    assert len(ended) >= len(seen)  # one for each attempt, also for those that fail


def test_a_handler_writes_in_no_session_but_its_own(database_url: str, sessions: Sessions) -> None:
    """As one of a registry would be: what it writes is not committed with the delivery."""
    engine, registry = sessions.kw["bind"], scoped_session(sessions)
    problems = list[str]()

    def uses_another(event: OrderPlaced, session: Session) -> None:
        try:
            registry.get_one(Order, event.order_id)
        except WiringError as error:
            problems.append(str(error))
        reserve(event, session)

    outbox = Outbox("shop", engine, [on(OrderPlaced, uses_another)])
    with outbox.running_sync():
        with sessions.begin() as session:
            order(outbox, session, 1)
        until_done(sessions)

    assert reserved(sessions) == [1]
    assert len(problems) == 1
    assert "has connected through the engine of the application" in problems[0]
