"""Sessions of every driver that applications have: what is stored and what is answered is the same.

A driver decides what a row count says, and when a statement is sent. So whatever the outbox makes
of rows that it has asked for is asked here with each of them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from aftercommit import Ordered, Outbox, on
from aftercommit.sqlite import prepare
from anyio import to_thread
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from aftercommit_tests.inside.stored import tables
from aftercommit_tests.outbox.orders import OrderPlaced, until

pytestmark = pytest.mark.anyio

ON_ASYNCIO = ["sqlite+aiosqlite", "postgresql+asyncpg", "postgresql+psycopg"]
ON_ANY_LOOP = ["sqlite+anyio", "postgresql+anyio"]
SYNCHRONOUS = ["sqlite", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000"]
EACH = [
    *((loop, True, driver) for loop in ("asyncio", "trio") for driver in ON_ANY_LOOP),
    *(("asyncio", True, driver) for driver in ON_ASYNCIO),
    *(("asyncio", False, driver) for driver in SYNCHRONOUS),
]
NAMES = [f"{loop}-{driver}{'' if is_async else '-sync'}" for loop, is_async, driver in EACH]

InSession = Callable[[Callable[[Session], Any]], Awaitable[Any]]


@pytest.fixture(params=EACH, ids=NAMES)
def case(request: pytest.FixtureRequest) -> Any:
    """An event loop, whether the driver is asynchronous, and the driver."""
    return request.param


@pytest.fixture
def anyio_backend(case: Any) -> str:
    """The event loop of the case."""
    return str(case[0])


@pytest.fixture
def taken() -> list[int]:
    """What the ordered handler has taken, in this order."""
    return []


@pytest.fixture
def outbox(case: Any, request: pytest.FixtureRequest, taken: list[int]) -> Outbox:
    """An outbox with an ordered handler and one that is not, on a database with its tables."""
    kind = "postgres" if case[2].startswith("postgresql") else "sqlite"
    url = request.getfixturevalue(f"{kind}_url")

    async def note(event: OrderPlaced, session: AsyncSession) -> None:
        taken.append(event.order_id)

    async def confirm(event: OrderPlaced) -> None:
        """Have no effect that matters."""

    return Outbox("shop", url, [on(OrderPlaced, confirm, Ordered(note))])


@pytest.fixture
async def in_session(case: Any, outbox: Outbox) -> AsyncIterator[InSession]:
    """What runs a synchronous function in a new session of the driver."""
    _, is_async, driver = case
    url = sa.make_url(outbox.app.default_database_url).set(drivername=driver)
    options: dict[str, Any] = {}
    if "pg8000" in driver and (folder := url.query.get("host")):  # which it has no word for
        url = url.set(query={})
        options["connect_args"] = {"unix_sock": f"{folder}/.s.PGSQL.{url.port or 5432}"}
    create: Any = create_async_engine if is_async else sa.create_engine
    engine = await to_thread.run_sync(partial(create, url, **options))  # it imports the driver
    prepare(engine)

    def run(function: Callable[[Session], Any]) -> Any:
        with Session(engine) as session:
            return function(session)

    async def run_sync(function: Callable[[Session], Any]) -> Any:
        if not isinstance(engine, AsyncEngine):
            return await to_thread.run_sync(run, function)
        async with AsyncSession(engine) as session:
            return await session.run_sync(function)

    yield run_sync
    if isinstance(engine, AsyncEngine):
        await engine.dispose()
    else:
        engine.dispose()


async def test_a_message_is_new_once(outbox: Outbox, in_session: InSession) -> None:
    """Or a request is answered as a repeated one, and nothing of it is stored."""

    def asked(session: Session) -> bool:
        return outbox.once_sync(session, "shop.example", "request-1")

    def twice(session: Session) -> list[bool]:
        answers = [asked(session), asked(session)]
        session.commit()
        return answers

    assert await in_session(asked) is True  # and it is rolled back
    assert await in_session(twice) == [True, False]
    assert await in_session(asked) is False


async def test_what_is_recorded_is_stored_with_the_commit_and_taken_in_order(
    outbox: Outbox, in_session: InSession, taken: list[int]
) -> None:
    """What a savepoint has rolled back is not there; what is ordered has one head in its lane."""

    def record(session: Session, *numbers: int) -> None:
        outbox.record_sync(session, *map(OrderPlaced, numbers), about="the till")

    def several(session: Session) -> None:
        record(session, 1, 2)
        with session.begin_nested() as savepoint:
            record(session, 0)
            savepoint.rollback()
        with session.begin_nested():
            record(session, 3)
        session.commit()
        record(session, 4)
        session.commit()
        record(session, 0)
        session.rollback()
        record(session, 5)
        session.commit()

    def stored(session: Session) -> Any:
        row = tables.deliveries.c
        in_lanes = sa.select(row.blocked).where(row.lane.is_not(None)).order_by(row.position)
        events = sa.select(tables.events.c.data).order_by(tables.events.c.position)
        return session.scalars(in_lanes).all(), session.scalars(events).all()

    async def is_done() -> bool:
        return taken == [1, 2, 3, 4, 5]

    await in_session(several)
    blocked, events = await in_session(stored)

    assert blocked == [False, True, True, True, True]
    assert events == [f'{{"order_id":{number}}}' for number in (1, 2, 3, 4, 5)]
    async with outbox.running():
        await until(is_done)
