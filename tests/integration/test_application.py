"""The whole application on each database, in one process: many commands at once, cancellation."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import anyio
import pytest
from sqlalchemy import ColumnElement, Table, event, func, select

from allocation import views
from allocation.adapters import orm
from allocation.adapters.wire import EVENT_TYPES
from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain import events
from allocation.domain.events import Event
from allocation.domain.exceptions import EmailAlreadyRegistered
from tests.builders import a_batch, a_registration

pytestmark = pytest.mark.anyio


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(settings) as application:
        yield application


async def count(application: Application, table: Table, *where: ColumnElement[bool]) -> int:
    async with application.database.reading() as session:
        statement = select(func.count()).select_from(table).where(*where)
        return int((await session.execute(statement)).scalar_one())


async def test_fifty_registrations_at_once_all_succeed(application: Application) -> None:
    """One file, fifty tasks, two hundred and fifty transactions: nobody finds it locked."""
    await application.bus.handle(a_batch(quantity=30))
    reports = []

    async def register(n: int) -> None:
        reports.append(await application.bus.handle(a_registration(email=f"user{n}@example.com")))

    async with anyio.create_task_group() as group:
        for n in range(50):
            group.start_soon(register, n)

    assert [failure for report in reports for failure in report.failures] == []
    async with views.users(application.database) as rows:
        users = [row async for row in rows]
    assert len(users) == 50
    assert len([user for user in users if user.coupon]) == 30
    assert await count(application, orm.registration_log) == 50
    assert await count(application, orm.deliveries, ~orm.FINISHED) == 0
    assert await count(application, orm.deliveries) == 50 * 4 + 30 * 2 + 1


async def test_one_address_registered_twice_at_once_gives_one_user_and_one_refusal(
    application: Application,
) -> None:
    """Whatever the case of the letters."""
    refusals = []

    async def register(email: str) -> None:
        try:
            await application.bus.handle(a_registration(email=email))
        except EmailAlreadyRegistered as refusal:
            refusals.append(refusal)

    async with anyio.create_task_group() as group:
        group.start_soon(register, "ivan@example.com")
        group.start_soon(register, "Ivan@Example.com")

    assert len(refusals) == 1
    async with views.users(application.database) as rows:
        assert len([row async for row in rows]) == 1
    assert await count(application, orm.events) == 2  # UserRegistered and OutOfCoupons, once


async def test_cancelled_registrations_are_stored_if_and_only_if_acknowledged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled at random moments, 800 times: no answer is lost, no connection, no warning."""
    dice = random.Random(2026)
    acknowledged: list[str] = []
    connected: list[object] = []

    async with bootstrap(replace(settings, pool_size=1)) as application:
        event.listen(application.database.engine.sync_engine, "connect", collect(connected))

        began = anyio.current_time()
        for n in range(4):
            await application.bus.execute(a_registration(email=f"first{n}@example.com"))
            acknowledged.append(f"first{n}@example.com")
        longest = anyio.current_time() - began  # for four at once

        async def register(email: str) -> None:
            with anyio.move_on_after(dice.uniform(0, longest)):
                await application.bus.execute(a_registration(email=email))
                acknowledged.append(email)

        for batch in range(200):
            async with anyio.create_task_group() as group:
                for n in range(4):
                    group.start_soon(register, f"user{batch}-{n}@example.com")

        async with application.database.reading() as session:
            stored = (await session.execute(select(orm.users.c.email))).scalars().all()
    assert 4 < len(stored) < 804
    assert Counter(map(str, stored)) == Counter(acknowledged)
    assert connected == []
    assert caplog.records == []


def collect(into: list[object]) -> Callable[[object, object], None]:
    return lambda connection, _: into.append(connection)


def test_every_event_can_be_written_down() -> None:
    """An event without a wire name would fail at its first commit."""
    defined = {name for name, member in vars(events).items() if is_event(member)}

    assert {event_type.__name__ for event_type in EVENT_TYPES.values()} == defined


def is_event(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, Event) and member is not Event


async def test_ids_are_stored_with_the_events(application: Application) -> None:
    """So that a story can be followed through the history."""
    await application.bus.handle(a_batch())
    report = await application.bus.handle(a_registration())

    async with application.database.reading() as session:
        rows = {row.id: row for row in await session.execute(select(orm.events))}
    registered, allocated = report.events
    assert rows[allocated.id].causation_id == registered.id
    assert rows[allocated.id].correlation_id == registered.context.correlation_id
    assert rows[registered.id].subject == registered.subject
    assert rows[registered.id].type == "user_registered"
