"""What cannot be delivered is refused where it is recorded, while it can be repaired."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aftercommit import Handlers, InvalidValue, Later, Ordered, Outbox, Unavailable, on
from aftercommit.errors import InvalidPayload, WiringError
from sqlalchemy import Connection, event, exc, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session

from aftercommit_tests.inside.errors import SchemaOfAnother
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import OrderPlaced, Shop, open_shop, reserve
from aftercommit_tests.warm import SOURCES

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio")]


@pytest.fixture
async def shop(tmp_path: object, anyio_backend: str) -> AsyncIterator[Shop]:
    """The application on a SQLite file, without our tables until its outbox runs."""
    async with open_shop(f"sqlite:///{tmp_path}/shop.db", anyio_backend) as shop:
        yield shop


@dataclass(frozen=True)
class Unknown:
    """An event that no entry of the table has."""


class Name(str):
    """Text that JSON does not take for text."""


@dataclass(frozen=True)
class Named:
    """An event with a field of each kind that can hold what JSON cannot."""

    name: str = ""
    counts: dict[Any, int] = field(default_factory=dict)
    weight: float = 0.0
    till: str | None = None


async def count(event: Named, session: AsyncSession) -> None:
    """Take such events in order."""


UNDELIVERABLE: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "an id that the database has not made": (OrderPlaced(None), 1, InvalidPayload, "order_id"),  # type: ignore[arg-type]
    "nothing": (OrderPlaced(1), None, InvalidValue, "flush"),
    "no row": (Unknown(), 1, WiringError, r"on\(Unknown, …\)"),
    "a list": ([OrderPlaced(1)], 1, WiringError, "takes events as separate arguments"),
    "a class": (OrderPlaced, 1, WiringError, "takes events as separate arguments"),
    "text of another class": (Named(Name("lamp"), till="1"), 1, InvalidPayload, "Name"),
    "half a character": (Named("\ud800", till="1"), 1, InvalidPayload, "surrogates"),
    "keys that are no text": (Named(counts={(1, 2): 3}, till="1"), 1, InvalidPayload, "keys"),
    "no number": (Named(weight=nan, till="1"), 1, InvalidPayload, "weight"),
    "an empty text": (OrderPlaced(1), "", InvalidValue, "about is '', but has to be an id"),
    "a subject of half a character": (
        OrderPlaced(1),
        "\ud800",
        InvalidValue,
        "databases cannot store",
    ),
    "a subject with a NUL": (OrderPlaced(1), "a\0b", InvalidValue, "databases cannot store"),
    "a list of subjects": (
        OrderPlaced(1),
        [1],
        InvalidValue,
        r"about is \[1\], but has to be an id",
    ),
    "bytes": (OrderPlaced(1), b"1", InvalidValue, "about is b'1', but has to be an id"),
    "no key": (Named(), 1, InvalidPayload, "its key is None, which count needs"),
}


@pytest.mark.parametrize(
    ("event", "about", "kind", "problem"), UNDELIVERABLE.values(), ids=UNDELIVERABLE
)
async def test_what_cannot_be_delivered_is_refused_at_once(
    shop: Shop, event: Any, about: Any, kind: type[Exception], problem: str
) -> None:
    """Later, it would be parked for good, or nobody would know what it is about."""
    ordered = on(Named, Ordered(count), key=lambda event: event.till)
    outbox = Outbox("shop", shop.outbox.app.default_database_url, [on(OrderPlaced), ordered])
    async with outbox.running(), shop.session() as session:
        with pytest.raises(kind, match=problem):
            await outbox.record(session, event, about=about)
        await session.commit()
    assert await shop.rows(tables.events.c.id) == []


async def test_tables_that_are_missing_are_a_sentence(shop: Shop) -> None:
    """And not an error of the database, which says nothing of what to do. So is a wrong session."""
    async with shop.session() as session:
        with pytest.raises(Unavailable, match='with "aftercommit db upgrade MODULE:NAME"'):
            await shop.place(session, 1)
        with pytest.raises(Unavailable, match="the tables of the outbox are missing"):
            await shop.outbox.once(session, "shop.example", "request-1")
        with pytest.raises(WiringError, match="record needs an AsyncSession.*record_sync"):
            await shop.outbox.record(session.sync_session, OrderPlaced(1), about=1)  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="record_sync needs a Session"):
            shop.outbox.record_sync(session, OrderPlaced(1), about=1)  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="once needs an AsyncSession.*once_sync"):
            await shop.outbox.once(session.sync_session, "shop.example", "1")  # type: ignore[arg-type]
        with pytest.raises(WiringError, match="deliver needs an AsyncSession.*deliver_sync"):
            await shop.outbox.deliver(session.sync_session)  # type: ignore[arg-type]


@pytest.mark.parametrize("message_id", [b"1", ["1"], "a\0b"])
async def test_what_is_no_id_is_no_message(shop: Shop, message_id: Any) -> None:
    """It would be stored as its Python source, or be an error of the database."""
    async with shop.session() as session:
        with pytest.raises(InvalidValue, match="message_id is "):
            await shop.outbox.once(session, "shop.example", message_id)


@pytest.mark.parametrize(("source", "message_id"), [("s", None), ("s", ""), ("", "1")])
async def test_a_message_without_an_id_is_no_message(
    shop: Shop, source: str, message_id: Any
) -> None:
    """A header that is missing: each one would be new, or each one but the first old."""
    async with shop.session() as session:
        with pytest.raises(InvalidValue, match="does not distinguish this message"):
            await shop.outbox.once(session, source, message_id)


async def test_once_takes_ids_and_sessions_as_they_come(shop: Shop) -> None:
    """An id may be a UUID, or its text; a session may be synchronous."""
    async with shop.outbox.running(), shop.session() as session:
        assert await shop.outbox.once(session, "shop.example", UUID(int=1))
        again = partial(shop.outbox.once_sync, source="shop.example", message_id=str(UUID(int=1)))
        assert not await session.run_sync(again)


@pytest.mark.parametrize("delay", [None, nan, inf, -1, "5", timedelta(days=1)])
def test_a_delay_has_to_be_a_time(delay: Any) -> None:
    """Also where no type checker looks: what is due at no time would wait forever."""
    with pytest.raises(WiringError, match="a timedelta or a function"):
        Later(reserve, after=5)  # type: ignore[arg-type]
    table = Handlers(commands=[], events=[on(OrderPlaced, Later(reserve, after=lambda _: delay))])
    with pytest.raises(
        WiringError, match="a number of seconds, 0 or more, not: .*(None|nan|inf|1|5)"
    ):
        table.subscriptions(None)
    Later(reserve, after=timedelta(days=1))


async def test_sessions_of_another_database_are_refused(
    tmp_path: object, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker would look in its own, and nothing would ever be delivered."""
    url, other = (f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "other"))
    monkeypatch.setenv("SHOP_DATABASE_URL", other)
    async with open_shop(url, anyio_backend) as shop, shop.session() as session:
        with pytest.raises(WiringError, match=r"different databases: .*other\.db, .*shop\.db"):
            await shop.place(session, 1)


async def test_sessions_that_the_worker_cannot_follow_are_refused(shop: Shop) -> None:
    """The schema is that of another name, or nothing is rolled back."""
    async with shop.outbox.running(), shop.session() as session:
        other = Outbox("other", shop.outbox.app.default_database_url, [on(OrderPlaced)])
        with pytest.raises(SchemaOfAnother, match="belongs to the application shop"):
            await other.record(session, OrderPlaced(1), about=1)


async def autocommit_of_sqlalchemy(url: str) -> AsyncEngine:
    return create_async_engine(url, isolation_level="AUTOCOMMIT")


async def autocommit_of_sqlite(url: str) -> AsyncEngine:
    return create_async_engine(url, connect_args={"isolation_level": None})


async def autocommit_of_the_driver(url: str) -> AsyncEngine:
    url = url.replace("asyncpg", "psycopg")
    return create_async_engine(url, connect_args={"autocommit": True})


async def autocommit_of_a_listener(url: str) -> AsyncEngine:
    engine = create_async_engine(url.replace("asyncpg", "psycopg"))

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.autocommit = True

    return engine


CARELESS: list[tuple[str, Any]] = [
    ("sqlite", autocommit_of_sqlalchemy),
    ("sqlite", autocommit_of_sqlite),
    ("postgresql", autocommit_of_sqlalchemy),
    ("postgresql", autocommit_of_the_driver),
    ("postgresql", autocommit_of_a_listener),
]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize(("kind", "careless"), CARELESS)
async def test_a_session_of_which_nothing_is_rolled_back_is_refused(
    postgres_url: str, tmp_path: object, kind: str, careless: Any, anyio_backend: str
) -> None:
    """Anyone who has said AUTOCOMMIT: the event would be there, whatever becomes of the order."""
    url = f"sqlite:///{tmp_path}/shop.db" if kind == "sqlite" else postgres_url
    async with open_shop(url, anyio_backend) as shop:
        async with shop.outbox.running():
            pass
        engine = await careless(shop.engine.url.render_as_string(hide_password=False))
        async with AsyncSession(engine) as session:
            with pytest.raises(WiringError, match="needs a transaction.*: AUTOCOMMIT"):
                await shop.outbox.record(session, OrderPlaced(1), about=1)
            with pytest.raises(WiringError, match="needs a transaction.*: AUTOCOMMIT"):
                await shop.outbox.once(session, "shop.example", "request-1")
        await engine.dispose()
        assert await shop.rows(tables.events.c.id) == []


@pytest.mark.parametrize("statement", ["BEGIN", "BEGIN IMMEDIATE"])
async def test_a_transaction_that_a_listener_begins_is_one(
    tmp_path: object, statement: str
) -> None:
    """As SQLAlchemy's documentation of SQLite says; a dialect may send it with what comes next."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, "trio", prepared=False) as shop:
        begin_by_listeners(shop.engine, statement)
        async with shop.outbox.running():
            for number in (1, 2):
                async with shop.session() as session, session.begin():
                    await shop.outbox.record(session, OrderPlaced(number), about=number)
        assert len(await shop.rows(tables.events.c.id)) == 2


def begin_by_listeners(engine: AsyncEngine, statement: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


async def test_sessions_of_a_registry_can_record(shop: Shop) -> None:
    """Such as `db.session` of Flask-SQLAlchemy, which stands for the session of a request."""
    scoped = async_scoped_session(shop.session, scopefunc=lambda: 1)
    async with shop.outbox.running():
        assert await shop.outbox.once(scoped, "shop.example", "request-1")
        await shop.outbox.record(scoped, OrderPlaced(1), about=1)
        await scoped.commit()
        with pytest.raises(WiringError, match="record_sync needs a Session"):
            shop.outbox.record_sync(scoped, OrderPlaced(1), about=1)  # type: ignore[arg-type]
        await scoped.remove()

        def record(session: Session) -> None:
            registry: Any = scoped_session(lambda: session)  # type: ignore[arg-type]
            assert shop.outbox.once_sync(registry, "shop.example", "request-2")
            shop.outbox.record_sync(registry, OrderPlaced(2), about=2)
            registry.commit()

        async with shop.session() as session:
            await session.run_sync(record)

    assert len(await shop.rows(tables.events.c.id)) == 2


@pytest.mark.parametrize("refused", ["reserve", "confirm"])
async def test_what_is_swallowed_leaves_no_event_without_deliveries(
    shop: Shop, refused: str
) -> None:
    """On SQLite, anyone who catches the error can commit the rest of the transaction."""
    refusal = f"WHEN NEW.handler = '{refused}' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    trigger = f"CREATE TRIGGER t BEFORE INSERT ON aftercommit_deliveries {refusal}"
    async with shop.outbox.running():
        pass
    async with shop.session() as session:
        await session.execute(text(trigger))
        with pytest.raises(exc.IntegrityError, match="the disk is full"):
            await shop.outbox.record(session, OrderPlaced(1), about=1)
        await session.commit()

    assert await shop.rows(tables.events.c.id) == []


LEFT_OPEN = """
import asyncio, os, sys
from aftercommit_tests.outbox.orders import OrderPlaced
from aftercommit import Outbox, on
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

outbox = Outbox("shop", sys.argv[1], [on(OrderPlaced)])
running, loop = outbox.running(), asyncio.new_event_loop()
loop.run_until_complete(running.__aenter__())
loop.close()
with Session(create_engine(sys.argv[1])) as session:
    for number in (1, 2):
        outbox.record_sync(session, OrderPlaced(number), about=number)
        session.commit()
print("committed", flush=True)
os._exit(0)  # what is left of the loop has nothing to say
"""


def test_a_commit_does_not_fail_because_an_event_loop_has_ended(tmp_path: Path) -> None:
    """What is committed is committed: an error would say that it is not."""
    program = [sys.executable, "-c", LEFT_OPEN, f"sqlite:///{tmp_path}/shop.db"]
    ended = subprocess.run(
        program, env=os.environ | {"PYTHONPATH": SOURCES}, capture_output=True, text=True
    )

    assert (ended.returncode, ended.stdout) == (0, "committed\n"), ended.stderr


async def test_a_message_that_was_rolled_back_causes_nothing(shop: Shop) -> None:
    """A trace would begin with what was never there. The one before it is still the cause."""

    async def causes() -> list[bool]:
        """Tell of each event, in order, whether its message is there."""
        event = tables.events.c
        there = select(event.causation_id.in_(select(tables.commands.c.id)))
        async with shop.session() as session:
            return [*(await session.scalars(there.order_by(event.position)))]

    async with shop.outbox.running():
        async with shop.session() as session, session.begin():
            outer = await session.begin_nested()
            async with session.begin_nested():
                assert await shop.outbox.once(session, "shop.example", "request-1")
            await shop.outbox.record(session, OrderPlaced(0), about=0)
            await outer.rollback()
            await shop.outbox.record(session, OrderPlaced(1), about=1)
            async with session.begin_nested():
                assert await shop.outbox.once(session, "shop.example", "request-1")
            savepoint = await session.begin_nested()
            assert await shop.outbox.once(session, "shop.example", "request-2")
            await savepoint.rollback()
            await shop.outbox.record(session, OrderPlaced(2), about=2)
        async with shop.session() as session, session.begin():
            await shop.outbox.record(session, OrderPlaced(3), about=3)
        found = await causes()
        event = tables.events.c
        same = await shop.rows(event.correlation_id)

    assert found == [False, True, False]
    assert len(set(same)) == 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_engine_that_is_not_prepared_is_named_once(
    tmp_path: object, anyio_backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its requests overwrite each other, and no error says so."""
    url = f"sqlite:///{tmp_path}/shop.db"
    async with open_shop(url, anyio_backend, prepared=False) as shop, shop.outbox.running():
        for number in (1, 2):
            await shop.order(number)

    assert [each.message for each in caplog.records if "prepare" in each.message] == [
        "requests can overwrite changes that others made after they had read; "
        "call aftercommit.sqlite.prepare, once for the engine"
    ]


KEPT = {
    "sqlite+anyio:///shop.db": "sqlite+anyio:///shop.db",
    "sqlite+aiosqlite:///shop.db": "sqlite:///shop.db",
    "postgresql+anyio://h/shop": "postgresql+anyio://h/shop",
    "postgresql+asyncpg://h/shop": "postgresql+asyncpg://h/shop",
    "postgresql+psycopg://h/shop": "postgresql+psycopg://h/shop",
    "postgres+psycopg2://h/shop": "postgresql://h/shop",
    "postgresql://h/shop": "postgresql://h/shop",
}


@pytest.mark.parametrize(("given", "kept"), KEPT.items(), ids=KEPT)
def test_a_driver_that_the_worker_has_is_kept(given: str, kept: str) -> None:
    """One of the sessions' own is not: the worker takes what suits its event loop."""
    app = Outbox("shop", given, [on(OrderPlaced)]).app

    assert app.load({}, {}).database_url == kept
