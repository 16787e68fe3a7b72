"""Handlers that hang, on each database: only these fail, whoever has to wait for them."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import HandlerTimeout, NotBegun, TransientError
from aftercommit.handler_table import Handlers
from aftercommit.observers import Observer
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import is_scheduled
from aftercommit.sql.inbox import record_command

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import Command
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.handlers import HANDLERS
from allocation.service_layer.unit_of_work import UnitOfWork
from allocation.service_layer.user_mailer import UserMailer
from tests.builders import a_batch, a_command_envelope, a_registration, table

pytestmark = pytest.mark.anyio

LIMIT_SECONDS = 180  # for what comes at once, or never
NEVER_AGAIN = 10_000.0


async def hangs_in_its_transaction(event: Event, uow: UnitOfWork) -> None:
    await anyio.sleep_forever()


async def hangs_outside(event: Event, user_mail: UserMailer) -> None:
    await anyio.sleep_forever()


async def takes_its_time(event: Event, uow: UnitOfWork) -> None:
    await anyio.sleep(1)


class Emails(Observer):
    """Counts the calls that send one."""

    def __init__(self) -> None:
        self.sent = 0

    @contextmanager
    def count(self) -> Iterator[None]:
        yield
        self.sent += 1

    def port_call(self, port: str, method: str) -> AbstractContextManager[None]:
        return self.count()


HANGING = {each.__name__: each for each in (hangs_in_its_transaction, hangs_outside)}


@pytest.fixture(params=HANGING)
def hanging(request: pytest.FixtureRequest) -> str:
    """The name of one more handler of registrations, which hangs."""
    return str(request.param)


def with_one_that_hangs(name: str) -> Handlers[Command, Event]:
    """Return the table with one more handler of registrations."""
    listed = [HANGING[name], *HANDLERS.events[UserRegistered]]
    return table({**HANDLERS.events, UserRegistered: listed}, HANDLERS.commands)


@pytest.fixture
def emails() -> Emails:
    return Emails()


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """A handler has two seconds: on a busy machine, one that works is not to be cut off.

    Of the connections, handlers can have one: all others have to wait for the one that hangs.
    """
    return replace(
        settings,
        pool_size=3,
        lease_seconds=6.0,
        handler_timeout_seconds=2.0,
        retry_initial_seconds=NEVER_AGAIN,
        retry_max_seconds=NEVER_AGAIN,
    )


@pytest.fixture
async def application(
    patient: Settings, hanging: str, emails: Emails
) -> AsyncIterator[Application]:
    async with bootstrap(
        patient, handlers=with_one_that_hangs(hanging), observers=[emails]
    ) as application:
        yield application


async def outstanding(application: Application) -> dict[str, int]:
    """Return how many deliveries of each handler are not done, but for those for later."""
    due = ~tables.FINISHED, ~is_scheduled(application.database.clock)
    handler = tables.deliveries.c.handler
    number = sa.func.count().label("number")
    counted: sa.Select[Any] = sa.select(handler, number).where(*due).group_by(handler)
    async with application.database.read_transaction() as transaction:
        return {row.handler: row.number for row in await transaction.execute(counted)}


async def assert_that_others_are_well(application: Application, hanging: str) -> None:
    """Each is done at its first attempt, and no failure is told of it."""
    row = tables.deliveries.c
    others = sa.select(row.handler, row.attempts, row.unavailable_attempts, row.parked_at)
    async with application.database.read_transaction() as transaction:
        found = (await transaction.execute(others.where(row.handler != hanging))).all()
        failed = (await transaction.execute(sa.select(tables.failures.c.handler))).scalars().all()
    assert {tuple(each[2:]) for each in found} == {(0, None)}
    assert max(each.attempts for each in found) == 1
    assert {*failed} <= {hanging}


async def test_a_handler_that_hangs_fails_alone_in_a_worker(
    application: Application, patient: Settings, hanging: str, emails: Emails
) -> None:
    """Those that wait for its lock or its connection are no failures, and no e-mail comes twice."""
    leaving_it = replace(patient, dispatch="worker")
    async with bootstrap(leaving_it, handlers=with_one_that_hangs(hanging)) as elsewhere:
        await elsewhere.bus.handle(a_batch())
        for number in range(4):
            await elsewhere.bus.execute(a_registration(email=f"user{number}@example.com"))
    worker = Worker(application, Shutdown(), concurrency=20)

    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        await until_only_this_is_left(application, hanging)
        group.cancel_scope.cancel()

    await assert_that_others_are_well(application, hanging)
    assert emails.sent == 2 * 4  # one to welcome, and one with the coupon


@pytest.mark.parametrize("concurrency", [2, 3, 20])
@pytest.mark.parametrize("hanging", [hangs_outside.__name__], indirect=True)
async def test_a_handler_that_hangs_leaves_slots_to_the_others(
    settings: Settings, hanging: str, concurrency: int
) -> None:
    """A mail server that says nothing must not stop the others, however long it says nothing."""
    for_ever = replace(settings, dispatch="worker", lease_seconds=2000, handler_timeout_seconds=999)
    opening = bootstrap(for_ever, handlers=with_one_that_hangs(hanging))
    async with opening as application, anyio.create_task_group() as group:
        for number in range(concurrency):
            await application.bus.execute(a_registration(email=f"user{number}@example.com"))
        group.start_soon(Worker(application, Shutdown(), concurrency=concurrency).run)
        await until_only_this_is_left(application, hanging)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("hanging", [takes_its_time], indirect=True)
async def test_who_waited_for_the_only_connection_asks_for_pauses_without_it(
    settings: Settings, hanging: str
) -> None:
    """It has it by then, and would wait for itself for ever."""
    async with bootstrap(replace(settings, pool_size=1)) as application:
        with anyio.fail_after(LIMIT_SECONDS):
            result = await application.bus.handle(a_registration())
        assert result.failures == []
        assert await outstanding(application) == {}


async def until_only_this_is_left(application: Application, hanging: str) -> None:
    """Return when all others have done their work."""
    with anyio.fail_after(LIMIT_SECONDS):
        while (await outstanding(application)).keys() - {hanging}:  # noqa: ASYNC110
            await anyio.sleep(0.1)


async def test_a_handler_that_hangs_fails_alone_where_it_was_caused(
    application: Application, hanging: str, emails: Emails
) -> None:
    """Who registers waits for it, and finds one failure: nobody else took longer than it may."""
    await application.bus.handle(a_batch())

    with anyio.fail_after(LIMIT_SECONDS):
        result = await application.bus.handle(a_registration())

    failed = Counter(failure.delivery.handler for failure in result.failures)
    assert failed == {hanging: 1}
    assert [type(failure.error) for failure in result.failures] == [HandlerTimeout]
    await assert_that_others_are_well(application, hanging)
    assert await outstanding(application) == {hanging: 1}
    assert emails.sent == 2


async def test_a_command_that_never_gets_its_transaction_is_unavailable(
    settings: Settings,
) -> None:
    """Whoever waits for it is told in time; nothing is stored, and it can be given again."""
    impatient = replace(settings, handler_timeout_seconds=0.2, pool_size=1)
    async with (
        bootstrap(impatient) as application,
        application.database.write_transaction(),
    ):
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises(NotBegun):
            await application.bus.execute(a_registration())


async def test_a_copy_of_a_command_does_not_wait_for_ever_for_the_other(
    settings: Settings,
) -> None:
    """It comes after the other is stored, or is refused: here the other goes on for too long."""
    impatient = replace(settings, handler_timeout_seconds=1.0)
    origin = MessageOrigin(source="/shop", id=str(uuid4()))
    other = a_command_envelope(origin, a_registration())
    async with bootstrap(impatient) as application:
        database = application.database
        async with database.write_transaction() as transaction:
            await record_command(transaction, database.clock, other)
            with anyio.fail_after(LIMIT_SECONDS), pytest.raises(TransientError):
                await application.bus.execute(a_registration(), origin)
