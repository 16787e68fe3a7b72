"""Handlers that hang, on each database: only these fail, no matter who has to wait for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import HandlerTimeout, NotBegun, TransientError
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker

from aftercommit_tests.builders import PLAIN, POLICY, a_command, a_command_work
from aftercommit_tests.inside.stored import record_command
from aftercommit_tests.misbehaving import LIMIT_SECONDS
from aftercommit_tests.things.app import open_things_database
from aftercommit_tests.things.bell import Bell
from aftercommit_tests.things.domain import Event, ThingMade, ThingPolished
from aftercommit_tests.things.handlers import announce, polish, praise, write_down
from aftercommit_tests.things.storage import UnitOfWork, start_mappers
from aftercommit_tests.world import World

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.on("asyncio-postgres", "trio-sqlite"),
    pytest.mark.check,
]

# three seconds: on a busy machine, a handler that works is not to be cut off; and no retries
PATIENT = replace(
    POLICY,
    lease_seconds=9.0,
    handler_timeout_seconds=3.0,
    retry_initial_seconds=10_000.0,
    retry_max_seconds=10_000.0,
)


async def hangs_in_its_transaction(event: Event, uow: UnitOfWork) -> None:
    uow.write("what is never committed")
    await anyio.sleep_forever()


async def hangs_outside(event: Event, bell: Bell) -> None:
    await anyio.sleep_forever()


async def takes_its_time(event: Event, uow: UnitOfWork) -> None:
    await anyio.sleep(1)


@pytest.fixture(params=[hangs_in_its_transaction, hangs_outside])
def hanging(request: pytest.FixtureRequest) -> Any:
    """One more handler of new things, which hangs."""
    return request.param


@asynccontextmanager
async def opened(
    database_url: str, *beside: Any, connections: int = 3, server_waits: float = 20.0, **limits: Any
) -> AsyncIterator[World]:
    """Open a world with one more handler of new things.

    Of the connections, handlers can have one: all others have to wait for the one that hangs.
    """
    start_mappers()
    listed = [*beside, announce, write_down, polish]
    handlers = {**PLAIN, ThingMade: listed, ThingPolished: [praise]}
    opened = open_things_database(
        database_url, connections=connections, handler_timeout=server_waits
    )
    async with opened as database:
        policy = replace(PATIENT, **limits)
        yield World(database, database, policy=policy, event_handlers=handlers)


async def run_worker(world: World, hanging: Any, concurrency: int = 20) -> None:
    """Run a worker until all other handlers have done their work."""
    worker = Worker(world.application, Shutdown(), concurrency=concurrency)
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        with anyio.fail_after(LIMIT_SECONDS):
            while {*await world.owed()} - {hanging.__name__}:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        group.cancel_scope.cancel()


async def assert_that_others_are_well(world: World, hanging: Any) -> None:
    """Each is done at its first attempt, and no failure is told of it."""
    assert {*(await world.finished()).values()} == {1}
    assert {name for _, name in await world.failures()} <= {hanging.__name__}
    assert {name for _, name in await world.deliveries()} <= {hanging.__name__}


async def test_a_handler_that_hangs_fails_alone_in_a_worker(
    database_url: str, hanging: Any
) -> None:
    """Those that wait for its lock or its connection are no failures, and nothing rings twice."""
    async with opened(database_url, hanging, dispatch="worker") as elsewhere:
        await elsewhere.made(4)

    async with opened(database_url, hanging) as world:
        await run_worker(world, hanging)
        await assert_that_others_are_well(world, hanging)

    assert len(world.bell.rung) == 2 * 4  # to announce each thing, and to praise it


@pytest.mark.parametrize("concurrency", [2, 3, 20])
async def test_a_handler_that_hangs_leaves_slots_to_the_others(
    database_url: str, concurrency: int
) -> None:
    """A mail server that does not answer must not stop the others, however long it takes."""
    for_ever = {"lease_seconds": 2000, "handler_timeout_seconds": 999}
    async with opened(database_url, hangs_outside, dispatch="worker", **for_ever) as world:
        await world.made(concurrency)
        await run_worker(world, hangs_outside, concurrency)


async def test_a_handler_that_hangs_fails_alone_where_it_was_caused(
    database_url: str, hanging: Any
) -> None:
    """The caller waits for it, and finds one failure: nobody else took longer than it may."""
    async with opened(database_url, hanging) as world:
        with anyio.fail_after(LIMIT_SECONDS):
            result = await world.bus.handle(a_command("lamp"))

        failed = [(failure.delivery.handler, type(failure.error)) for failure in result.failures]
        assert failed == [(hanging.__name__, HandlerTimeout)]
        assert f"{hanging.__name__} took longer than 3 s" in str(result.failures[0].error)
        assert await world.lines() == ["lamp"]
        await assert_that_others_are_well(world, hanging)
    assert len(world.bell.rung) == 2


async def test_who_waited_for_the_only_connection_asks_for_pauses_without_it(
    database_url: str,
) -> None:
    """It has it by then, and would wait for itself forever."""
    async with opened(database_url, takes_its_time, connections=1) as world:
        with anyio.fail_after(LIMIT_SECONDS):
            result = await world.bus.handle(a_command())

        assert (result.failures, await world.deliveries()) == ([], {})


async def test_a_command_that_never_gets_its_transaction_is_unavailable(database_url: str) -> None:
    """Anyone who waits for it is told in time; nothing is stored, and it can be given again."""
    opening = opened(database_url, connections=1, handler_timeout_seconds=0.2)
    async with opening as world, world.database.write_transaction():
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises(NotBegun):
            await world.bus.execute(a_command())


async def test_a_copy_of_a_command_does_not_wait_for_ever_for_the_other(database_url: str) -> None:
    """It comes after the other is stored, or is refused: here the other goes on for too long."""
    origin = MessageOrigin(source="/shop", id=str(uuid4()))
    opening = opened(database_url, server_waits=2.0, handler_timeout_seconds=1.0)
    async with opening as world, world.database.write_transaction() as transaction:
        await record_command(transaction, world.database.clock, a_command_work(origin))
        with anyio.fail_after(LIMIT_SECONDS), pytest.raises(TransientError):
            await world.bus.execute(a_command(), origin)
