"""The whole application on each database, in one process: many commands at once, cancellation."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import anyio
import pytest
from aftercommit.process.application import Application
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import is_scheduled
from sqlalchemy import ColumnElement, Table, event, func, select

from allocation import views
from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain import events
from allocation.domain.commands import ChangeEmail
from allocation.domain.events import Event
from allocation.domain.users import EmailAlreadyRegistered
from allocation.messages import CODEC
from allocation.service_layer.handlers import HANDLERS
from allocation.service_layer.read_model_types import UserRow
from tests.builders import a_batch, a_registration

pytestmark = pytest.mark.anyio


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    async with bootstrap(settings) as application:
        yield application


async def count(application: Application, table: Table, *where: ColumnElement[bool]) -> int:
    async with application.database.read_transaction() as transaction:
        statement = select(func.count()).select_from(table).where(*where)
        return int((await transaction.execute(statement)).scalar_one())


async def test_many_registrations_at_once_all_succeed(application: Application) -> None:
    """One file, twenty tasks, nearly a hundred transactions: nobody finds it locked."""
    assert len(await register_twenty(application)) == 20
    assert await count(application, orm.registration_log) == 20
    is_due = ~is_scheduled(application.database.clock)
    assert await count(application, tables.deliveries, ~tables.FINISHED, is_due) == 0
    assert await count(application, tables.deliveries) >= 20 * 3


async def test_a_worker_has_a_slot_for_each_of_its_deliveries(settings: Settings) -> None:
    """Otherwise it would hold leases of deliveries that cannot begin."""
    async with bootstrap(replace(settings, worker_concurrency=70)) as application:
        assert application.bus.slots.value == 70


async def register_twenty(application: Application) -> list[UserRow]:
    """Register twenty users at once, without a failure, and return all that are listed then."""
    reports = []

    async def register(n: int) -> None:
        reports.append(await application.bus.handle(a_registration(email=f"user{n}@example.com")))

    async with anyio.create_task_group() as group:
        for n in range(20):
            group.start_soon(register, n)

    assert [failure for report in reports for failure in report.failures] == []
    async with views.users(application.database) as rows:
        return [row async for row in rows]


async def test_of_many_at_once_as_many_are_given_a_coupon_as_there_are(
    application: Application,
) -> None:
    """None of them to two, and none is left."""
    await application.bus.handle(a_batch(quantity=12))

    users = await register_twenty(application)

    assert len({user.coupon_code for user in users if user.coupon_code}) == 12
    assert await count(application, tables.deliveries) == 20 * 4 + 12 * 4 + 1


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
    assert await count(application, tables.events, tables.events.c.type == "user_registered") == 1


async def test_cancelled_registrations_are_stored_if_and_only_if_acknowledged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled at random moments, 200 times: no answer is lost, no connection, no warning."""
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

        for batch in range(50):
            async with anyio.create_task_group() as group:
                for n in range(4):
                    group.start_soon(register, f"user{batch}-{n}@example.com")

        async with application.database.read_transaction() as transaction:
            stored = (await transaction.execute(select(orm.users.c.email))).scalars().all()
    assert 4 < len(stored) < 204
    assert Counter(map(str, stored)) == Counter(acknowledged)
    assert connected == []
    slow = "held the only write lock"  # a busy machine
    assert [record for record in caplog.records if slow not in record.msg] == []


def collect(into: list[object]) -> Callable[[object, object], None]:
    return lambda connection, _: into.append(connection)


def test_every_event_can_be_written_down() -> None:
    """An event without a wire name would fail at its first commit."""
    defined = {name for name, member in vars(events).items() if is_event(member)}

    assert {event_type.__name__ for event_type in CODEC.events.values()} > defined
    assert set(CODEC.events.values()) == set(HANDLERS.events)


def is_event(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, Event) and member is not Event


async def test_ids_are_stored_with_the_events(application: Application) -> None:
    """So that a story can be followed through the history."""
    ivan = a_registration(email="ivan@example.com")
    await application.bus.handle(ivan)
    report = await application.bus.handle(ChangeEmail(user_id=ivan.user_id, new_email="i@b.org"))

    async with application.database.read_transaction() as transaction:
        rows = {row.id: row for row in await transaction.execute(select(tables.events))}
    [changed] = report.events
    assert rows[changed.id].causation_id == changed.context.causation_id
    assert rows[changed.id].correlation_id == changed.context.correlation_id
    assert rows[changed.id].subject == changed.subject == str(ivan.user_id)
    assert rows[changed.id].type == "email_changed"
