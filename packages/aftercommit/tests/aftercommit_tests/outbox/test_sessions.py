"""What is recorded in a session is stored with its transaction, or not at all, and then done."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Later, Ordered, Outbox, on
from aftercommit.errors import CausationTooDeep, HandlerInterrupted, WiringError
from anyio import to_thread
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from aftercommit_tests.builders import MARIA
from aftercommit_tests.inside.claims import MAX_DEPTH
from aftercommit_tests.inside.operations import (
    find_traces,
    handler_pauses,
    listed_deliveries,
    message_query,
)
from aftercommit_tests.inside.process import worker
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.outbox.orders import (
    Order,
    OrderPlaced,
    Shop,
    StockReserved,
    confirm,
    open_shop,
    reserve,
    until,
)
from aftercommit_tests.proxy import postgres_behind_a_proxy
from aftercommit_tests.things.bell import RecordingBell

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

MANY = 140  # handlers: with four versions of an event, more than a statement has parts


@pytest.fixture
async def shop(database_url: str, anyio_backend: str) -> AsyncIterator[Shop]:
    """The application, while its outbox runs."""
    async with open_shop(database_url, anyio_backend) as shop, shop.outbox.running():
        yield shop


async def only(shop: Shop, handler: str) -> bool:
    return await shop.pending() == [handler]


async def test_what_is_rolled_back_says_nothing(shop: Shop) -> None:
    """By an error, by hand, by a cancellation, or by a savepoint."""
    with pytest.raises(ZeroDivisionError):
        async with shop.session() as session, session.begin():
            await shop.place(session, 1)
            raise ZeroDivisionError
    with anyio.CancelScope() as request:
        async with shop.session() as session, session.begin():
            await shop.place(session, 2)
            request.cancel()
            await anyio.lowlevel.checkpoint()
    async with shop.session() as session:
        await shop.place(session, 3)
        await session.rollback()
        await shop.place(session, 4)
        savepoint = await session.begin_nested()
        await shop.place(session, 5)
        await savepoint.rollback()
        await session.commit()

    await until(shop.is_done)

    assert [number for (number,) in await shop.rows(Order.id)] == [4]
    assert shop.bell.texts == ["order 4"]


async def test_what_is_recorded_in_a_savepoint_is_delivered_with_the_commit(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy calls the same listeners for the savepoint: the commit wakes the worker."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 1000.0)
    async with shop.session() as session, session.begin():
        async with session.begin_nested():
            await shop.place(session, 1)
        await shop.place(session, 2)

    await until(shop.is_done)

    assert await shop.reserved() == [1, 1]


async def test_a_session_may_be_committed_again(shop: Shop) -> None:
    """Each commit wakes the worker."""
    async with shop.session() as session:
        for number in (1, 2):
            await shop.place(session, number)
            await session.commit()

    await until(shop.is_done)

    assert await shop.reserved() == [1, 1]


async def test_a_commit_wakes_the_worker(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the next look at the database, also after a synchronous endpoint."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 1000.0)
    await shop.order(1)
    await until(shop.is_done)
    url = shop.engine.url.set(
        drivername="sqlite" if "sqlite" in shop.engine.url.drivername else "postgresql+psycopg"
    )

    def endpoint() -> None:
        engine = sa.create_engine(url)
        with Session(engine) as session, session.begin():
            session.add(Order(id=2))
            shop.outbox.record_sync(session, OrderPlaced(2), about=2)
        engine.dispose()

    await to_thread.run_sync(endpoint)
    await until(shop.is_done)

    assert shop.bell.texts == ["order 1", "order 2"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_commit_whose_answer_is_lost_is_followed_up(
    postgres_url: str, free_tcp_port: int, anyio_backend: str
) -> None:
    """The request fails, and nobody knows whether the order is there. It is."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port) as (proxied, proxy):
        async with open_shop(postgres_url, anyio_backend) as shop, shop.outbox.running():
            engine = create_async_engine(make_url(proxied).set(drivername="postgresql+asyncpg"))
            with pytest.raises(sa.exc.SQLAlchemyError):
                async with AsyncSession(engine) as session, session.begin():
                    await shop.place(session, 1)
                    proxy.cuts_after = b"COMMIT"
            await engine.dispose()

            await until(shop.reserved)
            await until(shop.is_done)
            assert shop.bell.texts == ["order 1"]


async def commits_its_connection(session: AsyncSession) -> None:
    await (await session.connection()).commit()


async def rolls_its_connection_back(session: AsyncSession) -> None:
    await (await session.connection()).rollback()


async def swallows_a_failed_flush(session: AsyncSession) -> None:
    session.expunge_all()
    session.add(Order(id=1))
    with pytest.raises(sa.exc.IntegrityError):
        await session.flush()


async def uses_another_connection(session: AsyncSession) -> None:
    engine = create_async_engine("sqlite+aiosqlite:///")
    await session.execute(sa.select(1), bind_arguments={"bind": engine.sync_engine})


ENDINGS: dict[str, Any] = {
    r"leave it out of handlers.*session\.commit\(\)": lambda session: session.commit(),
    r"leave it out of handlers.*session\.rollback\(\)": lambda session: session.rollback(),
    r"leave it out of handlers.*session\.close\(\)": lambda session: session.close(),
    r"leave it out of handlers.*connection\.commit\(\)": commits_its_connection,
    "a handler has ended its transaction, through its connection": rolls_its_connection_back,
    "has ended its transaction, .* or by an error": swallows_a_failed_flush,
    "sessions of handlers have one connection": uses_another_connection,
}


@pytest.mark.parametrize(("problem", "ending"), ENDINGS.items(), ids=ENDINGS)
async def test_a_handler_that_ends_its_transaction_is_told_not_to(
    database_url: str, anyio_backend: str, problem: str, ending: Any
) -> None:
    """Its effect would be lost or doubled, and nobody would say so. A savepoint of its own is fine.

    Nor does it roll back what the fixture of a test has done.
    """

    async def ends(event: OrderPlaced, session: AsyncSession) -> None:
        async with session.begin_nested():
            (await session.get_one(Order, event.order_id)).reserved += 1
        await ending(session)

    async with open_shop(database_url, anyio_backend, ends) as shop:
        async with shop.outbox.running():
            await shop.order(1)
            await until(shop.last_error)

        assert re.search(problem, await shop.last_error())
        assert await shop.reserved() == [0]
        async with shop.session() as session:
            await shop.place(session, 2)
            if ending is not uses_another_connection:  # the session of a fixture is its own
                with pytest.raises(WiringError, match=problem):
                    await shop.outbox.deliver(session)
            if r"session\." in problem:
                assert await session.get(Order, 2)


async def cancels_itself(event: OrderPlaced) -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]
    await anyio.sleep_forever()


async def cancels_its_commit(event: OrderPlaced, session: AsyncSession) -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]


async def cancels_its_last_write(event: OrderPlaced) -> None:
    asyncio.current_task().cancel()  # type: ignore[union-attr]


async def closes_itself(event: OrderPlaced) -> None:
    raise GeneratorExit


async def interrupts(event: OrderPlaced) -> None:
    raise KeyboardInterrupt


async def reserved_both(shop: Shop) -> bool:
    return await shop.reserved() == [1, 1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(
    "fails", [cancels_itself, cancels_its_commit, cancels_its_last_write, closes_itself, interrupts]
)
async def test_a_handler_that_cancels_itself_ends_no_worker(
    tmp_path: object, anyio_backend: str, fails: Any
) -> None:
    """It has failed, unless it had its effect before. The worker would end without a word.

    What is closed like a generator is an attempt without an end, as that of a process that died.
    """
    opening = open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend, fails, reserve)
    async with opening as shop, shop.outbox.running():
        for number in (1, 2):
            await shop.order(number)

        await until(lambda: reserved_both(shop))
        if fails in (cancels_itself, cancels_its_commit):
            await until(shop.last_error)
            assert f"{fails.__name__} raised CancelledError, which" in await shop.last_error()
        if fails is interrupts:
            await until(shop.last_error)
            assert "interrupts raised KeyboardInterrupt, which" in await shop.last_error()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_worker_that_somebody_cancels_ends_the_body_with_an_error(
    tmp_path: object, anyio_backend: str
) -> None:
    """A recipe cancels all tasks but its own. The body would go on without a worker, or end."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend) as shop:
        others = asyncio.all_tasks()
        with pytest.raises(HandlerInterrupted, match="the worker raised CancelledError"):
            async with shop.outbox.running():
                await shop.order(1)
                await until(shop.is_done)
                for task in asyncio.all_tasks() - others:
                    task.cancel()
                await anyio.sleep_forever()


async def test_handlers_that_cause_each_other_for_ever_are_stopped(shop: Shop) -> None:
    """By the depth of their events, as the message bus does."""

    async def again(event: OrderPlaced, session: AsyncSession) -> None:
        await this.record(session, event, about=event.order_id)

    this = Outbox("shop", shop.outbox.app.load({}).database_url, [on(OrderPlaced, again)])
    async with shop.session() as session:
        await this.record(session, OrderPlaced(1), about=1)
        with pytest.raises(CausationTooDeep, match=r"number 101 in a chain.*on\(OrderPlaced, …"):
            await this.deliver(session)


async def test_an_event_that_may_loop_is_recorded_again_any_number_of_times(shop: Shop) -> None:
    """In a worker, and in a test's own session: work in chunks needs more rounds than a mistake."""
    rounds = MAX_DEPTH + 20

    async def again(event: StockReserved, session: AsyncSession) -> None:
        if event.order_id < rounds:
            await this.record(session, StockReserved(event.order_id + 1), about=1)

    url = shop.outbox.app.load({}).database_url
    this = Outbox("shop", url, [on(StockReserved, again, may_loop=True)])
    async with shop.session() as session:
        await this.record(session, StockReserved(1), about=1)
        assert await this.deliver(session) == rounds
        await session.rollback()
        await this.record(session, StockReserved(1), about=1)
        await session.commit()
    async with this.running():
        await until(shop.is_done)

    assert await shop.rows(tables.events.c.depth) == [(1,)] * rounds


async def test_what_is_raised_while_it_runs_leaves_as_it_is(shop: Shop) -> None:
    """In no group: the lifespan of an application may expect one error."""
    with pytest.raises(ZeroDivisionError):
        async with shop.outbox.running():
            raise ZeroDivisionError


async def test_a_handler_that_fails_has_changed_nothing(
    database_url: str, anyio_backend: str
) -> None:
    """It is tried again, and takes effect once; what it has recorded belongs to that."""
    attempts: list[OrderPlaced] = []

    async def fails_once(event: OrderPlaced, session: AsyncSession) -> None:
        (await session.get_one(Order, event.order_id)).reserved += 1
        await this.outbox.record(session, StockReserved(event.order_id), about=event.order_id)
        attempts.append(event)
        if len(attempts) == 1:
            raise OSError("away")

    quick: dict[str, Any] = {"retry_initial_seconds": 0.01, "retry_max_seconds": 0.01}
    opening = open_shop(database_url, anyio_backend, fails_once, **quick)
    async with opening as this, this.outbox.running():
        await this.order(1)
        await until(this.is_done)

        assert len(attempts) == 2
        assert await this.reserved() == [1]
        rows = await this.rows(tables.events.c.type, tables.events.c.handler)
        assert [tuple(row) for row in rows] == [
            ("order_placed", None),
            ("stock_reserved", "fails_once"),
        ]


async def test_a_slow_endpoint_holds_up_nobody_who_resumes(shop: Shop) -> None:
    """What it records of a paused handler waits for the end of the pause, and no longer."""
    settings = shop.outbox.app.load({})
    async with shop.outbox.app.open_database(settings) as database:
        await handler_pauses.pause(database, ["confirm"], MARIA)
        async with shop.session() as session, session.begin():
            await shop.place(session, 1)
            if not database.backend.single_writer:  # there, who writes holds up all others
                with anyio.fail_after(LIMIT_SECONDS):
                    await handler_pauses.resume(database, ["confirm"], MARIA)
                    await handler_pauses.pause(database, ["confirm"], MARIA)
        await until(lambda: only(shop, "confirm"))
        assert shop.bell.rung == []

        await handler_pauses.resume(database, ["confirm"], MARIA)
        await until(shop.is_done)

    assert shop.bell.texts == ["order 1"]


async def test_a_request_that_comes_again_is_recognized(shop: Shop) -> None:
    """Also when both come at once; what was rolled back was not there. Its trace shows the rest."""
    outcomes = []

    async def request(*, fails: bool = False) -> None:
        async with shop.session() as session, session.begin():
            if await shop.outbox.once(session, "shop.example", "request-1"):
                await shop.place(session, 1)
                outcomes.append("first")
            else:
                outcomes.append("again")
            if fails:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await request(fails=True)
    async with anyio.create_task_group() as group:
        group.start_soon(request)
        group.start_soon(request)
    await until(shop.is_done)

    assert sorted(outcomes) == ["again", "first", "first"]
    assert await shop.reserved() == [1]
    async with shop.outbox.app.open_database(shop.outbox.app.load({})) as database:
        found = await find_traces(database, message_query("shop.example", "request-1"))
        async with database.read_transaction() as transaction:
            listed = [each.about async for each in listed_deliveries(transaction, database, "all")]
    named = ["message", "order_placed", "confirm", "reserve"]
    assert [node.name for node in found.nodes] == named
    assert listed == ["1", "1"]


async def test_tests_of_an_application_deliver_in_their_own_session(shop: Shop) -> None:
    """A fixture rolls all of it back."""
    async with shop.engine.connect() as connection:
        await connection.begin()
        joined = AsyncSession(connection, join_transaction_mode="create_savepoint")
        async with joined as session:
            await shop.place(session, 1)
            await session.commit()
            assert await shop.outbox.deliver(session) == 2
            assert (await session.get_one(Order, 1)).reserved == 1
        await connection.rollback()

    assert await shop.rows(Order.id) == []
    assert shop.bell.texts == ["order 1"]


async def test_what_is_recorded_for_an_ordered_handler_comes_in_order(shop: Shop) -> None:
    """In the order of the commits, whatever it is about; also in a test, and in a handler."""
    noted = list[int]()

    async def note(event: OrderPlaced, session: AsyncSession) -> None:
        noted.append(event.order_id)
        if event.order_id < 10:
            about = {"about": "the till"}
            await shop.outbox.record(session, OrderPlaced(event.order_id + 10), **about)

    async def record(session: AsyncSession, *numbers: int) -> None:
        placed = map(OrderPlaced, numbers)
        await shop.outbox.record(session, *placed, about="the till")

    shop.outbox = Outbox(
        "shop", shop.outbox.app.default_database_url, [on(OrderPlaced, Ordered(note))]
    )
    async with shop.session() as session:
        await record(session, 1, 2)
        await record(session, 3)
        assert await shop.outbox.deliver(session) == 6
        await session.rollback()
    in_order = [1, 2, 3, 11, 12, 13]
    assert noted == in_order

    for number in (1, 2, 3):
        async with shop.session() as session, session.begin():
            await record(session, number)
    async with shop.outbox.running():
        await until(shop.is_done)

    assert [number for number in noted[6:] if number < 10] == [1, 2, 3]
    assert sorted(noted[6:]) == in_order


@dataclass(frozen=True)
class Priced:
    """An event with a field that JSON cannot hold."""

    price: list[Order]


async def both(event: OrderPlaced, session: AsyncSession, bell: object) -> None:
    """Ask for two things that no transaction holds together."""


async def unknown(event: OrderPlaced, mailer: object) -> None:
    """Ask for what nobody provides."""


async def without_message() -> None:
    """Take nothing, and fail when it is called."""


async def synchronous(event: OrderPlaced, session: Session) -> None:
    """Ask for a session of synchronous code."""


def asynchronous(event: OrderPlaced, session: AsyncSession) -> None:
    """Ask for a session that has to be awaited."""


def asynchronous_port(event: OrderPlaced, bell: RecordingBell) -> None:
    """Ask for a port that has to be awaited."""


def yields(event: OrderPlaced) -> Iterator[None]:
    """Do nothing when it is called."""
    yield


@wraps(reserve)
def decorated(*args: Any, **options: Any) -> Any:
    """Do nothing until it is awaited."""
    return reserve(*args, **options)


async def by_position(event: OrderPlaced, session: AsyncSession, /) -> None:
    """Ask for a session where it cannot be given by name."""


def make_another() -> Any:
    """Return an event of another module, say, with the name of one that is there."""

    @dataclass
    class OrderPlaced:
        number: int

    return OrderPlaced


WRONG: dict[str, Any] = {
    "split it in two.*record an event in a session of your own": lambda: [on(OrderPlaced, both)],
    r"made by on\(Message, handler\); these are not: <function reserve": lambda: [reserve],
    "begins with the class of a message": lambda: [on(OrderPlaced(1), reserve)],  # type: ignore[arg-type]
    r"write on\(OrderPlaced, first, second\)": lambda: [on(OrderPlaced, [reserve, confirm])],  # type: ignore[arg-type]
    "a delay is negative": lambda: [on(OrderPlaced, Later(reserve, after=-timedelta(days=1)))],
    r"reserve in on\(StockReserved, …\) handles OrderPlaced": lambda: [
        on(StockReserved, reserve)  # type: ignore[arg-type]
    ],
    r"JSON cannot hold.*Priced \(Order\)": lambda: [on(Priced)],
    r"an event has to be a dataclass, unlike: Order": lambda: [on(Order)],  # type: ignore[type-var]
    "what nobody provides.*idempotency_key, session.*mailer": lambda: [on(OrderPlaced, unknown)],
    "another class than they are given.*`async def` are given sqlalchemy.*synchronous": lambda: [
        on(OrderPlaced, synchronous)
    ],
    "another class than they are given.*with `def` sqlalchemy.*Session.*: asynchronous$": lambda: [
        on(OrderPlaced, asynchronous)
    ],
    "asynchronous_port is made with `def`, so it cannot await.*: bell": lambda: [
        on(OrderPlaced, asynchronous_port)
    ],
    "functions with a name.*These are not: .*<lambda>": lambda: [on(OrderPlaced, lambda _: None)],
    "functions with a name.*These are not: .*yields": lambda: [on(OrderPlaced, yields)],  # type: ignore[arg-type]
    "functions with a name.*These are not: .*reserve": lambda: [on(OrderPlaced, decorated)],
    "has to take a message": lambda: [on(OrderPlaced, without_message)],  # type: ignore[arg-type]
    "has to take a message, and then": lambda: [on(OrderPlaced, by_position)],
    "two events are called order_placed.*orders.OrderPlaced, .*make_another": lambda: [
        on(OrderPlaced),
        on(make_another()),
    ],
}


class Routing(Session):
    """Reads over one engine and writes over another, as in SQLAlchemy's documentation."""

    def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Any:
        """Read elsewhere."""
        return super().get_bind(mapper, clause=clause) if is_write(clause) else REPLICA


class Unready(Session):
    """Knows its engine in a context only, as that of Flask-SQLAlchemy."""

    def get_bind(self, *args: Any, **options: Any) -> Any:
        """Find no context."""
        raise RuntimeError("working outside of application context")


class Traced(Session):
    """Overrides the method, but chooses no engine."""

    def get_bind(self, *args: Any, **options: Any) -> Any:
        """Leave it to the session."""
        return super().get_bind(*args, **options)


REPLICA = sa.create_engine("sqlite://")


def is_write(clause: object) -> bool:
    return isinstance(clause, sa.Update)


@pytest.mark.parametrize(("problem", "rows"), WRONG.items(), ids=WRONG)
def test_what_cannot_work_is_refused_where_the_outbox_is_made(problem: str, rows: Any) -> None:
    """Not when the first order comes."""
    with pytest.raises(WiringError, match=f"(?s){problem}"):
        Outbox("shop", "sqlite:///x.db", rows(), ports={"bell": RecordingBell()})


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"name": None}, "`name` of an outbox has to be text"),
        ({"events": on(OrderPlaced)}, "`events` of an outbox has to be a list of entries"),
        ({"ports": ["bell"]}, "`ports` of an outbox has to be a dict, by names"),
        ({"renamed": ["old"]}, "`renamed` of an outbox has to be a dict, by names"),
        ({"session": dict}, "`session` of an outbox is a class of sessions, or a sessionmaker"),
        ({"session": Routing}, "with a `get_bind` of its own.*leave `session` out.*Routing"),
        (
            {"session": scoped_session(sessionmaker(class_=Routing))},
            "with a `get_bind` of its own.*leave `session` out.*Routing",
        ),
        (
            {"session": async_sessionmaker(sync_session_class=Unready)},
            "with a `get_bind` of its own.*leave `session` out.*Unready",
        ),
        ({"engine": 7}, "the engine of the outbox is an AsyncEngine.*; use .* than: int"),
    ],
)
def test_an_argument_of_another_type_is_named(wrong: dict[str, Any], problem: str) -> None:
    """And is no AttributeError from somewhere within."""
    right: dict[str, Any] = {"name": "shop", "engine": "sqlite:///x.db", "events": []}
    with pytest.raises(WiringError, match=problem):
        Outbox(**(right | wrong))


@pytest.mark.parametrize(
    "kind",
    [
        Traced,
        scoped_session(sessionmaker(class_=Traced)),
        async_scoped_session(async_sessionmaker(), scopefunc=lambda: 1),
    ],
    ids=["get_bind", "scoped_session", "async_scoped_session"],
)
async def test_a_registry_is_as_good_as_what_it_was_made_of(
    kind: Any, database_url: str, anyio_backend: str
) -> None:
    """Such as `session=db.session`. The session of the request is not that of a handler."""
    async with open_shop(database_url, anyio_backend, reserve, session=kind) as shop:
        async with shop.outbox.running():
            await shop.order(1)
            await until(shop.is_done)
        assert await shop.reserved() == [1]


def test_what_can_work_is_accepted_and_an_unknown_setting_is_not() -> None:
    """One that is misspelled would be as its default."""

    async def log(event: Any) -> None:
        """Handle whatever comes."""

    rows = [on(OrderPlaced, reserve, confirm, log)]
    Outbox("shop", "sqlite:///x.db", rows, ports={"bell": object()}, max_attempts=3)
    with pytest.raises(WiringError, match="no settings of these names: max_attemps"):
        Outbox("shop", "sqlite:///x.db", rows, ports={"bell": object()}, max_attemps=3)


@pytest.mark.check  # it takes half a minute
async def test_hundreds_of_handlers_with_events_of_several_versions_are_delivered(
    database_url: str, anyio_backend: str
) -> None:
    """In an outbox as in the session of a test: one more would have stopped all of them."""
    done = list[int]()

    def handler(number: int) -> Any:
        async def handle(event: OrderPlaced) -> None:
            done.append(number)

        handle.__name__ = handle.__qualname__ = f"handler_{number}"
        return handle

    async def all_are_done() -> bool:
        return len(done) == MANY

    old: Any = {("order_placed", version): dict for version in range(1, 4)}
    handlers = map(handler, range(MANY))
    async with open_shop(database_url, anyio_backend, *handlers, upcasters=old) as shop:
        async with AsyncSession(shop.engine) as session:
            await shop.outbox.record(session, OrderPlaced(order_id=7), about=7)
            assert await shop.outbox.deliver(session) == MANY
            await session.rollback()
        done.clear()
        async with shop.outbox.running(), AsyncSession(shop.engine) as session:
            await shop.outbox.record(session, OrderPlaced(order_id=8), about=8)
            await session.commit()
            await until(all_are_done)

    assert sorted(done) == [*range(MANY)]
