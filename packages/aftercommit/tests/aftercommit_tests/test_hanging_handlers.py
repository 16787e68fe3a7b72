"""Handlers that hang, on each database: only these fail, whoever has to wait for them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import HandlerTimeout, NotBegun, TransientError
from aftercommit.process.application import Application
from aftercommit.process.runtime import Shutdown
from aftercommit.process.worker import Worker
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import is_scheduled
from aftercommit.sql.inbox import record_command

from aftercommit_tests.builders import a_command, a_command_work, table
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.bell import Bell, RecordingBell
from aftercommit_tests.things.domain import Event, ThingMade
from aftercommit_tests.things.handlers import HANDLERS
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

NEVER_AGAIN = 10_000.0

Opening = Callable[..., AbstractAsyncContextManager[Application]]


async def hangs_in_its_transaction(event: Event, uow: UnitOfWork) -> None:
    await anyio.sleep_forever()


async def hangs_outside(event: Event, bell: Bell) -> None:
    await anyio.sleep_forever()


async def takes_its_time(event: Event, uow: UnitOfWork) -> None:
    await anyio.sleep(1)


def opening(handler: Any) -> Opening:
    """Return what opens the application with one more handler of new things."""
    listed = [handler, *HANDLERS.events[ThingMade]]
    return partial(bootstrap, handlers=table({**HANDLERS.events, ThingMade: listed}))


@pytest.fixture(params=[hangs_in_its_transaction, hangs_outside])
def hanging(request: pytest.FixtureRequest) -> Any:
    """One more handler of new things, which hangs."""
    return request.param


@pytest.fixture
def bell() -> RecordingBell:
    return RecordingBell()


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
    patient: Settings, hanging: Any, bell: RecordingBell
) -> AsyncIterator[Application]:
    async with opening(hanging)(patient, bell=bell) as application:
        yield application


async def rows(application: Application, *columns: sa.ColumnElement[Any]) -> list[tuple[Any, ...]]:
    """Return these columns of what is stored, but for deliveries for later."""
    due = sa.select(*columns).where(~is_scheduled(application.database.clock))
    async with application.database.read_transaction() as transaction:
        return [tuple(row) for row in await transaction.execute(due)]


async def outstanding(application: Application) -> list[str]:
    """Return the handlers of all deliveries that are not done."""
    found = await rows(application, tables.deliveries.c.handler, tables.deliveries.c.completed_at)
    return [handler for handler, done in found if done is None]


async def until_only_this_is_left(application: Application, hanging: Any) -> None:
    """Return when all others have done their work."""
    with anyio.fail_after(LIMIT_SECONDS):
        while {*await outstanding(application)} - {hanging.__name__}:  # noqa: ASYNC110
            await anyio.sleep(0.1)


async def assert_that_others_are_well(application: Application, hanging: Any) -> None:
    """Each is done at its first attempt, and no failure is told of it."""
    row = tables.deliveries.c
    found = await rows(application, row.handler, row.attempts, row.unavailable_attempts)
    others = {(attempts, away) for name, attempts, away in found if name != hanging.__name__}
    async with application.database.read_transaction() as transaction:
        failed = (await transaction.execute(sa.select(tables.failures.c.handler))).scalars().all()
    assert others == {(1, 0)}
    assert {*failed} <= {hanging.__name__}


async def test_a_handler_that_hangs_fails_alone_in_a_worker(
    application: Application, patient: Settings, hanging: Any, bell: RecordingBell
) -> None:
    """Those that wait for its lock or its connection are no failures, and nothing rings twice."""
    async with opening(hanging)(replace(patient, dispatch="worker")) as elsewhere:
        for _ in range(4):
            await elsewhere.bus.execute(a_command())
    worker = Worker(application, Shutdown(), concurrency=20)

    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        await until_only_this_is_left(application, hanging)
        group.cancel_scope.cancel()

    await assert_that_others_are_well(application, hanging)
    assert len(bell.rung) == 2 * 4  # to announce each thing, and to praise it


@pytest.mark.parametrize("concurrency", [2, 3, 20])
async def test_a_handler_that_hangs_leaves_slots_to_the_others(
    settings: Settings, concurrency: int
) -> None:
    """A mail server that says nothing must not stop the others, however long it says nothing."""
    for_ever = replace(settings, dispatch="worker", lease_seconds=2000, handler_timeout_seconds=999)
    opened = opening(hangs_outside)(for_ever)
    async with opened as application, anyio.create_task_group() as group:
        for _ in range(concurrency):
            await application.bus.execute(a_command())
        group.start_soon(Worker(application, Shutdown(), concurrency=concurrency).run)
        await until_only_this_is_left(application, hangs_outside)
        group.cancel_scope.cancel()


async def test_who_waited_for_the_only_connection_asks_for_pauses_without_it(
    settings: Settings,
) -> None:
    """It has it by then, and would wait for itself for ever."""
    async with opening(takes_its_time)(replace(settings, pool_size=1)) as application:
        with anyio.fail_after(LIMIT_SECONDS):
            result = await application.bus.handle(a_command())
        assert (result.failures, await outstanding(application)) == ([], [])


async def test_a_handler_that_hangs_fails_alone_where_it_was_caused(
    application: Application, hanging: Any, bell: RecordingBell
) -> None:
    """The caller waits for it, and finds one failure: nobody else took longer than it may."""
    with anyio.fail_after(LIMIT_SECONDS):
        result = await application.bus.handle(a_command())

    failed = [(failure.delivery.handler, type(failure.error)) for failure in result.failures]
    assert failed == [(hanging.__name__, HandlerTimeout)]
    await assert_that_others_are_well(application, hanging)
    assert await outstanding(application) == [hanging.__name__]
    assert len(bell.rung) == 2


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
            await application.bus.execute(a_command())


async def test_a_copy_of_a_command_does_not_wait_for_ever_for_the_other(
    settings: Settings,
) -> None:
    """It comes after the other is stored, or is refused: here the other goes on for too long."""
    impatient = replace(settings, handler_timeout_seconds=1.0)
    origin = MessageOrigin(source="/shop", id=str(uuid4()))
    async with bootstrap(impatient) as application:
        database = application.database
        async with database.write_transaction() as transaction:
            await record_command(transaction, database.clock, a_command_work(origin))
            with anyio.fail_after(LIMIT_SECONDS), pytest.raises(TransientError):
                await application.bus.execute(a_command(), origin)
