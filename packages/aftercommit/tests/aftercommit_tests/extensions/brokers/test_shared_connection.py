"""A connection to publish with, made of objects: who shares one, and who is hurt."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import anyio
import pytest
from aftercommit import Envelope
from anyio import CancelScope, Event, create_task_group
from anyio.lowlevel import checkpoint

from aftercommit_tests.inside.brokers import (
    Broker,
    BrokerConnection,
    Inlet,
    OutgoingCommand,
    ReceivedMessage,
    Report,
    SharedConnection,
)
from aftercommit_tests.inside.errors import (
    BrokerUnavailable,
    ConfirmTimeoutError,
    MessageRefusedError,
    QueueFull,
)
from aftercommit_tests.inside.process import circuit_breaker

pytestmark = pytest.mark.anyio


class RefusedError(Exception):
    """What a library raises if a broker refuses a message."""


class NackError(Exception):
    """What a library raises if a broker does not take a message now."""


@dataclass
class FakeConnection:
    """A connection that knows whether it was closed, and why it was lost."""

    failure: Exception | None
    closed: int = 0
    loss: BaseException | None = None

    async def start(self) -> None:
        await checkpoint()
        if self.failure:
            raise self.failure

    async def close(self) -> None:
        self.closed += 1

    async def publish(self, envelope: Envelope) -> None: ...

    async def send_command(self, command: OutgoingCommand) -> None: ...

    async def dead_letter(self, dead: ReceivedMessage, to: str) -> None: ...


class FakeServer(Broker):
    """Lets connections be opened, or not."""

    kind = "Fake"
    refusals = (RefusedError,)
    rejections = (NackError,)

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.failure: Exception | None = None

    @property
    def closed(self) -> list[int]:
        """How often each connection was closed."""
        return [connection.closed for connection in self.made]

    def feeds(self, inlet: Inlet) -> NoReturn:
        raise NotImplementedError

    def new_connection(self) -> FakeConnection:
        self.made.append(FakeConnection(self.failure))
        return self.made[-1]

    def consume(self, inlet: Inlet, prefetch: int, report: Report) -> NoReturn:
        raise NotImplementedError


@pytest.fixture
def server() -> FakeServer:
    """What is published to."""
    return FakeServer()


@pytest.fixture
def publisher(server: FakeServer) -> SharedConnection:
    """What publishes to it."""
    return SharedConnection(server)


async def deliver(connection: BrokerConnection) -> None:
    await checkpoint()


def failing(error: BaseException) -> Callable[[BrokerConnection], Awaitable[None]]:
    async def fail(connection: BrokerConnection) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told", "closed"),
    [
        (RefusedError(), MessageRefusedError, [1, 0]),
        (TimeoutError(), ConfirmTimeoutError, [1, 0]),
        (OSError(), BrokerUnavailable, [1, 0]),
        (NackError(), QueueFull, [0]),  # it has answered: the connection is good
    ],
)
async def test_after_a_failure_others_begin_on_a_new_connection(
    server: FakeServer,
    publisher: SharedConnection,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    told: type,
    closed: list[int],
) -> None:
    """The old one may be broken; it is closed with all that is in flight on it."""
    monkeypatch.setattr(circuit_breaker, "PAUSE_SECONDS", 0)
    with pytest.raises(told):
        await publisher.send(failing(error))

    with anyio.fail_after(60):
        while True:
            try:
                await publisher.send(deliver)
                break
            except BrokerUnavailable:  # left alone for as long as the failure took
                await checkpoint()

    assert server.closed == closed


async def test_what_is_wrong_with_one_message_or_target_holds_up_no_other(
    publisher: SharedConnection, server: FakeServer
) -> None:
    """Or one team's full queue would stop what is sent to all teams."""
    for error in (NackError(), MessageRefusedError("Fake", "no")):
        with pytest.raises(Exception, match=r"Fake"):
            await publisher.send(failing(error))
        await publisher.send(deliver)

    assert server.closed == [0]


async def test_a_publish_that_is_cancelled_hurts_nobody(
    server: FakeServer, publisher: SharedConnection
) -> None:
    """Neither those in flight, nor those to come."""
    confirm = Event()

    async def wait(connection: BrokerConnection) -> None:
        await confirm.wait()

    async with create_task_group() as group:
        group.start_soon(publisher.send, wait)
        await anyio.wait_all_tasks_blocked()
        with CancelScope() as scope:
            scope.cancel()
            await publisher.send(wait)
        confirm.set()
    await publisher.send(deliver)

    assert server.closed == [0]


async def test_a_connection_that_was_lost_meanwhile_costs_no_message(
    server: FakeServer, publisher: SharedConnection
) -> None:
    """Quiet connections are cut by what is in between; without this, one event would be late."""
    await publisher.send(deliver)
    server.made[0].loss = OSError()

    await publisher.send(deliver)
    await publisher.close()

    assert server.closed == [0, 1]


async def test_a_broker_that_is_away_is_tried_once_for_all(
    server: FakeServer, publisher: SharedConnection
) -> None:
    """Or everybody would wait for it who has other work to do."""
    server.failure = OSError("refused")
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="Fake is not available: refused"):
            await publisher.send(deliver)

    assert server.closed == [1]


async def test_a_cancellation_that_a_library_made_up_is_a_lost_connection(
    publisher: SharedConnection,
) -> None:
    """Some cancel their own waiters when a connection is lost."""
    with pytest.raises(BrokerUnavailable, match="the connection was lost"):
        await publisher.send(failing(asyncio.CancelledError()))


async def test_a_timeout_of_asyncio_around_us_is_no_lost_connection(
    server: FakeServer, publisher: SharedConnection
) -> None:
    """Anyone who copies this may call it from code that knows no AnyIO."""

    async def wait(connection: BrokerConnection) -> None:
        limit.reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            await publisher.send(wait)
    await publisher.send(deliver)

    assert server.closed == [0]
