"""A line to a broker, with connections that are objects: who shares one, and who is hurt."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
from anyio import CancelScope, Event, create_task_group

from allocation.adapters.brokers.exceptions import BrokerUnavailable, Undeliverable
from allocation.adapters.brokers.line import Line

pytestmark = pytest.mark.anyio

ON_ASYNCIO = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class RefusedError(Exception):
    """What a library raises if a broker refuses a message."""


@dataclass
class FakeConnection:
    """A connection that knows whether it was closed, and whether it was lost."""

    closed: int = 0
    lost: bool = False

    async def connect(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        self.closed += 1


@dataclass
class FakeServer:
    """Lets connections be made, or not."""

    made: list[FakeConnection] = field(default_factory=list)
    failure: Exception | None = None

    async def connect(self) -> FakeConnection:
        await anyio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure
        self.made.append(FakeConnection())
        return self.made[-1]


def a_line(server: FakeServer) -> Line[FakeConnection]:
    return Line("Fake", server.connect, is_lost=lambda c: c.lost, refusals=(RefusedError,))


async def deliver(connection: FakeConnection) -> None:
    await anyio.lowlevel.checkpoint()


def failing(error: Exception) -> Callable[[FakeConnection], Awaitable[None]]:
    async def fail(connection: FakeConnection) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told"), [(RefusedError(), Undeliverable), (OSError(), BrokerUnavailable)]
)
async def test_a_publish_that_fails_hurts_no_sibling(error: Exception, told: type) -> None:
    """They go on over the connection they have; it is closed when the last of them has ended."""
    server, confirm = FakeServer(), Event()
    line = a_line(server)

    async def wait(connection: FakeConnection) -> None:
        await confirm.wait()
        assert not connection.closed

    async with create_task_group() as group:
        for _ in range(5):
            group.start_soon(line.send, wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(told):
            await line.send(failing(error))
        assert server.made[0].closed == 0
        confirm.set()

    assert server.made[0].closed == 1


async def test_after_a_refusal_others_begin_on_a_new_connection() -> None:
    """The old one may be broken by it."""
    server = FakeServer()
    line = a_line(server)
    with pytest.raises(Undeliverable):
        await line.send(failing(RefusedError()))

    await line.send(deliver)

    assert [connection.closed for connection in server.made] == [1, 0]


async def test_a_publish_that_is_cancelled_hurts_nobody() -> None:
    """Neither those in flight, nor those to come."""
    server, confirm = FakeServer(), Event()
    line = a_line(server)

    async def wait(connection: FakeConnection) -> None:
        await confirm.wait()

    async with create_task_group() as group:
        group.start_soon(line.send, wait)
        await anyio.wait_all_tasks_blocked()
        with CancelScope() as scope:
            scope.cancel()
            await line.send(wait)
        confirm.set()
    await line.send(deliver)

    assert [connection.closed for connection in server.made] == [0]


async def test_a_connection_that_was_lost_meanwhile_costs_no_message() -> None:
    """Quiet connections are cut by what is in between; without this, one event would be late."""
    server = FakeServer()
    line = a_line(server)
    await line.send(deliver)
    server.made[0].lost = True

    await line.send(deliver)

    assert len(server.made) == 2


async def test_while_a_broker_is_known_to_be_away_all_fail_at_once() -> None:
    """Or everybody would wait for it who has other work to do."""
    server = FakeServer(failure=OSError("refused"))
    line = a_line(server)
    with pytest.raises(BrokerUnavailable, match="Fake is not available: refused"):
        await line.send(deliver)
    server.failure = None

    with pytest.raises(BrokerUnavailable, match="refused"):
        await line.send(deliver)

    assert server.made == []


async def test_a_line_is_closed_with_its_connection() -> None:
    """And one that was never used has none."""
    server = FakeServer()
    line = a_line(server)
    await line.close()
    await line.send(deliver)

    await line.close()

    assert [connection.closed for connection in server.made] == [1]


@ON_ASYNCIO
async def test_a_cancellation_that_a_library_made_up_is_a_lost_connection() -> None:
    """Some cancel their own waiters when a connection is lost."""

    async def cancelled_by_library(connection: FakeConnection) -> None:
        raise asyncio.CancelledError

    with pytest.raises(BrokerUnavailable, match="the connection was lost"):
        await a_line(FakeServer()).send(cancelled_by_library)


@ON_ASYNCIO
async def test_a_timeout_of_asyncio_around_us_is_no_lost_connection() -> None:
    """Whoever copies this may call it from code that knows no AnyIO."""
    server = FakeServer()

    async def wait(connection: FakeConnection) -> None:
        await asyncio.Event().wait()

    line = a_line(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await line.send(wait)
    await line.send(deliver)

    assert [connection.closed for connection in server.made] == [0]
