"""An outbox that was given an engine: handlers have what requests have, on connections of ours."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from aftercommit import IdempotencyKey, InvalidValue, Ordered, Outbox, on
from aftercommit.errors import WiringError
from aftercommit.outbox.engine_of_application import EngineSource
from aftercommit.sqlite import prepare
from anyio import to_thread
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from aftercommit_tests.outbox.orders import until

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

ASYNC_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
KINDS = ["async", "sync", "function"]


class Base(DeclarativeBase):
    """Base of all models."""


class Note(Base):
    """What an order has led to."""

    __tablename__ = "notes"
    number: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]] = mapped_column(sa.JSON)
    level: Mapped[str] = mapped_column(default="")


@dataclass(frozen=True)
class Ordering:
    """Something was ordered."""

    number: int


@dataclass(frozen=True)
class Noted:
    """It was noted."""

    number: int


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Engines of applications have drivers for this one."""
    return str(request.param)


async def take_note(event: Ordering, session: AsyncSession) -> None:
    """Write what only the serializer of the application can write."""
    level = "SHOW transaction_isolation" if "postgresql" in await dialect(session) else "SELECT ''"
    found = await session.scalar(sa.text(level))
    values = {"id": UUID(int=event.number)}
    session.add(Note(number=event.number, values=values, level=str(found)))


async def dialect(session: AsyncSession) -> str:
    return (await session.connection()).dialect.name


def dumps(value: object) -> str:
    return json.dumps(value, default=str)


def at(url: str, *, is_async: bool, **options: Any) -> Any:
    """Return an engine of an application, whose driver is imported beside the event loop."""
    kind = make_url(url).get_backend_name()
    named = make_url(url).set(drivername=(ASYNC_DRIVERS if is_async else DRIVERS)[kind])
    create: Any = create_async_engine if is_async else sa.create_engine
    return create(named, **{"json_serializer": dumps, **options})


@asynccontextmanager
async def closing(*engines: Any) -> AsyncIterator[None]:
    """Close engines at the end."""
    try:
        yield
    finally:
        for each in engines:
            if isinstance(each, AsyncEngine):
                await each.dispose()
            else:
                await to_thread.run_sync(each.dispose)


def make_tables(url: str, metadata: sa.MetaData = Base.metadata) -> None:
    engine = at(url, is_async=False)
    with engine.begin() as connection:
        metadata.create_all(connection)
    engine.dispose()


def stored(url: str, *columns: Any) -> list[Any]:
    engine = at(url, is_async=False)
    with engine.connect() as connection:
        found = connection.execute(sa.select(*(columns or [Note.number]))).all()
    engine.dispose()
    return sorted(tuple(row) for row in found)


async def made(url: str, **options: Any) -> Any:
    return await to_thread.run_sync(partial(at, url, **options))


async def shown(url: str, *columns: Any) -> list[Any]:
    return await to_thread.run_sync(stored, url, *columns)


async def ordered(engine: Any, outbox: Outbox, *numbers: int) -> None:
    """Store orders as the application does: in its own sessions."""

    def store(session: Session) -> None:
        for number in numbers:
            outbox.record_sync(session, Ordering(number), about=number)

    def in_session() -> None:
        with Session(engine) as session, session.begin():
            store(session)

    if isinstance(engine, AsyncEngine):
        async with AsyncSession(engine) as session, session.begin():
            await session.run_sync(store)
    else:
        await to_thread.run_sync(in_session)


async def delivered(engine: Any, outbox: Outbox, *numbers: int) -> None:
    """Have handlers run for orders, and wait for them."""
    done = sa.text("SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL")

    async def is_done() -> bool:
        if isinstance(engine, AsyncEngine):
            async with engine.connect() as connection:
                return bool(await connection.scalar(done) == 0)
        return await to_thread.run_sync(_is_done)

    def _is_done() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(done) == 0)

    async with outbox.running():
        await ordered(engine, outbox, *numbers)
        await until(is_done)


@pytest.mark.parametrize("kind", KINDS)
async def test_handlers_have_the_serializer_of_the_engine(database_url: str, kind: str) -> None:
    """What can be written in a request can be written in a handler."""
    await to_thread.run_sync(make_tables, database_url)
    engine = await made(database_url, is_async=kind != "sync")
    prepare(engine)
    given: EngineSource = (lambda: engine) if kind == "function" else engine
    outbox = Outbox("shop", given, [on(Ordering, take_note)])
    async with closing(engine):
        await delivered(engine, outbox, 1, 2)

    assert await shown(database_url, Note.number, Note.values) == [
        (number, {"id": str(UUID(int=number))}) for number in (1, 2)
    ]


@pytest.mark.parametrize("anyio_backend", ["trio"])
@pytest.mark.parametrize("driver", ["sync", "anyio"])
async def test_an_engine_works_on_each_event_loop(
    database_url: str, anyio_backend: str, driver: str
) -> None:
    """By a driver for it; or it has one, which is used as it is."""
    await to_thread.run_sync(make_tables, database_url)
    if driver == "sync":
        engine = await made(database_url, is_async=False)
    else:
        kind = make_url(database_url).get_backend_name()
        named = make_url(database_url).set(drivername=f"{kind}+anyio")
        create = partial(create_async_engine, named, json_serializer=dumps)
        engine = await to_thread.run_sync(create)
        if kind == "sqlite":
            listening_to_begin(engine.sync_engine, [])
    prepare(engine)
    async with closing(engine):
        await delivered(engine, Outbox("shop", engine, [on(Ordering, take_note)]), 1)

    assert await shown(database_url) == [(1,)]


async def test_an_asynchronous_engine_of_psycopg_is_one_that_the_worker_can_have(
    postgres_url: str,
) -> None:
    """Anyone who has chosen psycopg needs no asyncpg, and listeners set its connections up."""
    await to_thread.run_sync(make_tables, postgres_url)
    named = make_url(postgres_url).set(drivername="postgresql+psycopg")
    create = partial(create_async_engine, named, json_serializer=dumps)
    engine = await to_thread.run_sync(create)
    drivers = set[str]()

    def hear(connection: Any, record: object) -> None:
        drivers.add(type(connection.driver_connection).__module__.partition(".")[0])

    event.listen(engine.sync_engine, "connect", hear)
    async with closing(engine):
        await delivered(engine, Outbox("shop", engine, [on(Ordering, take_note)]), 1)

    assert drivers == {"psycopg", "aftercommit"}
    assert await shown(postgres_url) == [(1,)]


async def test_a_function_is_called_anew_so_that_a_test_can_patch_the_engine(tmp_path: Any) -> None:
    """Not when the outbox is made, since the module of the engine may be imported later."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("one", "two")]
    now = dict[str, Any]()
    engines = [await made(url, is_async=True) for url in urls]
    outbox = Outbox("shop", lambda: now["engine"], [on(Ordering, take_note)])

    for url, engine in zip(urls, engines, strict=True):
        await to_thread.run_sync(make_tables, url)
        prepare(engine)
        now["engine"] = engine
        async with closing(engine):
            await delivered(engine, outbox, 1)

    assert [await shown(url) for url in urls] == [[(1,)], [(1,)]]


async def test_a_function_may_return_a_url(tmp_path: Any) -> None:
    """Then there is nothing else to have of it."""
    url = f"sqlite:///{tmp_path}/shop.db"
    await to_thread.run_sync(make_tables, url)
    engine = await made(url, is_async=True)

    async def note(event: Ordering, session: AsyncSession) -> None:
        session.add(Note(number=event.number, values={}))

    async with closing(engine):
        await delivered(engine, Outbox("shop", lambda: url, [on(Ordering, note)]), 1)

    assert await shown(url) == [(1,)]


async def test_a_function_is_not_called_for_each_delivery(tmp_path: Any) -> None:
    """One that makes an engine would make hundreds, and the guard would look at the wrong one."""
    url = f"sqlite:///{tmp_path}/shop.db"
    await to_thread.run_sync(make_tables, url)
    engine, calls = await made(url, is_async=True), list[str]()
    prepare(engine)

    def find() -> Any:
        calls.append("called")
        return engine

    async def note(event: Ordering, session: AsyncSession) -> None:
        session.add(Note(number=event.number, values={}))

    outbox, counts = Outbox("shop", find, [on(Ordering, note)]), list[int]()
    async with closing(engine):
        await delivered(engine, outbox, 0)  # and the first call of `record` asks for it, too
        for numbers in ([1], [*range(2, 12)]):
            calls.clear()
            await delivered(engine, outbox, *numbers)
            counts.append(len(calls))

    assert len(await shown(url)) == 12
    assert counts[0] == counts[1]


def listening_to_begin(engine: Any, said: list[str]) -> None:
    """Listen as SQLAlchemy's page on SQLite says, and to statements."""

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "before_cursor_execute")
    def hear(*args: Any) -> None:
        said.append(args[2])


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_listens_to_statements_hears_those_of_handlers(
    database_url: str, is_async: bool
) -> None:
    """Whatever the driver is. A transaction that a listener has begun is begun once."""
    await to_thread.run_sync(make_tables, database_url)
    said = list[str]()
    engine = await made(database_url, is_async=is_async)
    listening_to_begin(engine.sync_engine if is_async else engine, said)
    outbox = Outbox("shop", engine, [on(Ordering, take_note)])
    async with closing(engine):
        await delivered(engine, outbox, 1)

    assert any(each.startswith("INSERT INTO notes") for each in said)


async def test_what_listens_to_connections_sets_those_of_handlers_up(tmp_path: Any) -> None:
    """A function of SQLite, say. It is there when the first handler runs."""
    url = f"sqlite:///{tmp_path}/shop.db"
    await to_thread.run_sync(make_tables, url)
    engine = await made(url, is_async=True)

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: object) -> None:
        connection.create_function("twice", 1, lambda number: 2 * number)

    async def double(event: Ordering, session: AsyncSession) -> None:
        twice = await session.scalar(sa.select(sa.func.twice(event.number)))
        session.add(Note(number=twice, values={}))

    prepare(engine)
    async with closing(engine):
        await delivered(engine, Outbox("shop", engine, [on(Ordering, double)]), 4)

    assert await shown(url) == [(8,)]


TENANT = sa.MetaData(schema="tenant")
TENANT_NOTES = sa.Table("notes", TENANT, *(each._copy() for each in Note.__table__.columns))


def make_tenant(url: str) -> None:
    engine = at(url, is_async=False)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA tenant"))
        TENANT.create_all(connection)
    engine.dispose()


@pytest.mark.parametrize("is_async", [True, False])
async def test_schemas_are_translated_for_handlers_and_not_for_our_tables(
    postgres_url: str, is_async: bool
) -> None:
    """What handlers record in turn is found as well, and so is what is in order."""
    await to_thread.run_sync(make_tenant, postgres_url)
    engine = await made(postgres_url, is_async=is_async)
    engine = engine.execution_options(schema_translate_map={None: "tenant"})

    async def note(event: Ordering, session: AsyncSession) -> None:
        await outbox.once(session, "shop.example", str(event.number))
        await outbox.record(session, Noted(event.number), about=1)
        session.add(Note(number=event.number, values={}))

    async def look(event: Noted, session: AsyncSession) -> None:
        (await session.get_one(Note, event.number)).level = "looked"

    outbox = Outbox("shop", engine, [on(Ordering, Ordered(note)), on(Noted, Ordered(look))])
    async with closing(engine):
        await delivered(engine, outbox, 1, 2)

        if is_async:  # in a session of a test
            async with AsyncSession(engine) as session:
                await outbox.record(session, Ordering(3), about=3)
                assert await outbox.deliver(session) == 2
                assert (await session.get_one(Note, 3)).level == "looked"

    columns = TENANT_NOTES.c.number, TENANT_NOTES.c.level
    assert await shown(postgres_url, *columns) == [(1, "looked"), (2, "looked")]


SETTING = {"search_path": "tenant"}
PATHS: dict[str, Any] = {
    "arguments": {"connect_args": {"server_settings": SETTING}},
    "listener": {},
    "arguments-sync": {"connect_args": {"options": "-c search_path=tenant"}},
}


@pytest.mark.parametrize("way", PATHS)
async def test_handlers_have_the_search_path_of_the_engine(postgres_url: str, way: str) -> None:
    """However it is said. A listener may leave its transaction open, which would take it back."""
    await to_thread.run_sync(make_tenant, postgres_url)
    engine = await to_thread.run_sync(
        partial(at, postgres_url, is_async="sync" not in way, **PATHS[way])
    )
    if way == "listener":

        @event.listens_for(engine.sync_engine, "connect")
        def connect(connection: Any, record: object) -> None:
            connection.cursor().execute("SET search_path TO tenant")

        @event.listens_for(engine.sync_engine, "checkout")
        def check_out(connection: Any, record: object, proxy: object) -> None:
            connection.cursor().execute("SET search_path TO tenant")

    async with closing(engine):
        await delivered(engine, Outbox("shop", engine, [on(Ordering, take_note)]), 1)

    assert await shown(postgres_url, TENANT_NOTES.c.number) == [(1,)]


ISOLATIONS: dict[str, Callable[[str], Any]] = {
    "of all": lambda url: at(url, is_async=True, isolation_level="SERIALIZABLE"),
    "none": lambda url: at(url, is_async=True, isolation_level="AUTOCOMMIT"),
    "of one": lambda url: at(url, is_async=True).execution_options(
        isolation_level="REPEATABLE READ"
    ),
    "sync": lambda url: at(url, is_async=False).execution_options(isolation_level="SERIALIZABLE"),
}


@pytest.mark.parametrize("way", ISOLATIONS)
async def test_handlers_have_the_isolation_that_the_engine_of_others_has_not(
    postgres_url: str, way: str
) -> None:
    """Anyone who has waited for a lock has to see what the other one did."""
    await to_thread.run_sync(make_tables, postgres_url)
    engine = await to_thread.run_sync(ISOLATIONS[way], postgres_url)
    requests = await made(postgres_url, is_async=True)
    async with closing(engine, requests):
        outbox = Outbox("shop", engine, [on(Ordering, take_note)])
        await delivered(requests, outbox, 1, 2)

    assert await shown(postgres_url, Note.level) == [("read committed",)] * 2


async def test_requests_and_handlers_do_not_wait_for_each_others_connections(
    postgres_url: str,
) -> None:
    """A pool of one is empty in the first request."""
    await to_thread.run_sync(make_tables, postgres_url)
    engine = await to_thread.run_sync(
        partial(at, postgres_url, is_async=True, pool_size=1, max_overflow=0, pool_timeout=1)
    )
    outbox = Outbox("shop", engine, [on(Ordering, take_note)])
    async with closing(engine), outbox.running():
        await ordered(engine, outbox, *range(1, 9))
        async with engine.connect():  # nobody else gets one

            async def are_noted() -> bool:
                return len(await to_thread.run_sync(stored, postgres_url)) == 8

            await until(are_noted)


async def test_handlers_are_guarded_and_requests_are_not(database_url: str) -> None:
    """Although the engine of the application shares its dialect with ours."""
    await to_thread.run_sync(make_tables, database_url)
    engine = await made(database_url, is_async=True)
    prepare(engine)
    error = list[BaseException]()

    async def commits(event: Ordering, session: AsyncSession) -> None:
        try:
            await session.execute(sa.text("COMMIT"))
        except WiringError as raised:
            error.append(raised)
        session.add(Note(number=event.number, values={}))

    outbox = Outbox("shop", engine, [on(Ordering, commits)])
    async with closing(engine):
        for number in (1, 2):
            await delivered(engine, outbox, number)
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    assert [str(each) for each in error] != []
    assert "leave it out of handlers" in str(error[0])


async def test_a_registry_of_sessions_is_refused_where_its_writes_would_be_lost(
    database_url: str,
) -> None:
    """In a handler that has a session, and a transaction, of its own. Others may look things up."""
    await to_thread.run_sync(make_tables, database_url)
    engine = await made(database_url, is_async=False)
    prepare(engine)
    registry = scoped_session(sessionmaker(engine))
    found = list[object]()

    def write(number: int) -> None:
        try:
            registry.add(Note(number=number, values={}))
            registry.commit()
        except WiringError as error:
            found.append(error)
        finally:
            registry.remove()

    def look() -> None:
        found.append(registry.scalar(sa.select(sa.literal("looked"))))
        registry.remove()

    async def writes(event: Ordering, session: AsyncSession) -> None:
        await to_thread.run_sync(write, event.number)
        session.add(Note(number=100 + event.number, values={}))

    async def looks(event: Ordering) -> None:
        await to_thread.run_sync(look)

    outbox = Outbox("shop", engine, [on(Ordering, writes, looks)])
    async with closing(engine):
        await delivered(engine, outbox, 1)

    assert await shown(database_url) == [(101,)]
    assert "looked" in found
    [error] = [each for each in found if isinstance(each, WiringError)]
    assert "such as db.session" in str(error)
    assert str(error).endswith("It is: writes")


CONTEXT: ContextVar[str] = ContextVar("context")


@contextmanager
def app_context() -> Iterator[None]:
    """What Flask's does: `current_app` works inside, and nowhere else."""
    token = CONTEXT.set("the application")
    try:
        yield
    finally:
        CONTEXT.reset(token)


async def test_handlers_run_in_the_context_of_the_application(tmp_path: Any) -> None:
    """And so does the function that returns the engine."""
    url = f"sqlite:///{tmp_path}/shop.db"
    await to_thread.run_sync(make_tables, url)
    engine = await made(url, is_async=True)
    prepare(engine)

    def find() -> Any:
        CONTEXT.get()
        return engine

    async def note(event: Ordering, session: AsyncSession, idempotency_key: IdempotencyKey) -> None:
        session.add(Note(number=event.number, values={}, level=CONTEXT.get()))

    in_thread = list[str]()

    def note_in_a_thread(event: Ordering) -> None:
        in_thread.append(CONTEXT.get())

    entries = [on(Ordering, Ordered(note), note_in_a_thread)]
    outbox = Outbox("shop", find, entries, context=app_context)
    async with closing(engine):
        await delivered(engine, outbox, 1)
        outside = Outbox("shop", find, [on(Ordering, note)])
        with pytest.raises(InvalidValue, match=r"raised LookupError.*context=app.app_context"):
            async with outside.running():
                """It does not come so far."""

    assert await shown(url, Note.level) == [("the application",)]
    assert in_thread == ["the application"]


def hook(*args: object) -> None:
    """Listen to something."""


def with_listener(name: str) -> Any:
    engine = sa.create_engine(PG)
    event.listen(engine, name, hook)
    return engine


def with_executing_listener() -> Any:
    engine = create_async_engine("postgresql+asyncpg://localhost/shop")
    event.listen(engine.sync_engine, "do_execute", hook)
    return engine


PG = "postgresql+psycopg://localhost/shop"
REFUSED: dict[str, Callable[[], Any]] = {
    r"psycopg; the worker uses postgresql\+psycopg \(of the extra psycopg\), which cannot "
    r"use a listener to connect \(.*test_given_engines\.hook\); give": partial(
        with_listener, "connect"
    ),
    "a listener to do_connect": partial(with_listener, "do_connect"),
    r"a creator \(.*hook\)": lambda: sa.create_engine(PG, creator=hook),
    "whose connect_args have no prepare_threshold": lambda: sa.create_engine(
        PG, connect_args={"prepare_threshold": 0}
    ),
    r"a listener to do_execute \(.*hook\), which can execute": with_executing_listener,
    "do not support a database in memory": lambda: create_async_engine("sqlite+aiosqlite://"),
    "is an AsyncEngine, an Engine, a URL, or a function that returns one": lambda: Session(),
}


@pytest.mark.parametrize(("problem", "find"), REFUSED.items(), ids=REFUSED)
async def test_what_another_driver_cannot_have_is_refused_by_name(
    problem: str, find: Callable[[], Any]
) -> None:
    """At start, and with exit code 2 in commands. Nothing has connected for it."""
    outbox = Outbox("shop", find, [on(Ordering, take_note)])
    with pytest.raises(InvalidValue, match=problem):
        async with outbox.running():
            """It does not come so far."""


async def test_a_variable_for_another_database_is_refused(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be ignored. One for the same database does no harm, whatever its driver is."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
    outbox = Outbox("shop", engine, [on(Ordering, take_note)])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_DATABASE_URL", "sqlite:///shop.db")
    assert outbox.app.load({}).max_attempts == 10
    monkeypatch.setenv("SHOP_DATABASE_URL", "postgresql://u:hunter2@db.example.com/shop")
    problem = "SHOP_DATABASE_URL names another database than the engine of the outbox"
    with pytest.raises(InvalidValue, match=problem) as refused:
        outbox.app.load({})
    assert "hunter2" not in str(refused.value)
    await engine.dispose()
