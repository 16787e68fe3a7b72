"""A connection to publish with, made of objects: who shares one, and who is hurt."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import anyio
import anyio.lowlevel
import pytest
from aftercommit.envelopes import Envelope
from aftercommit.extensions.brokers.base import (
    Broker,
    Connection,
    InboundMessage,
    PublisherConnection,
)
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    ConfirmTimeoutError,
    MessageRefusedError,
)
from anyio import CancelScope, Event, create_task_group

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
        await anyio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure

    async def close(self) -> None:
        self.closed += 1

    async def publish(self, envelope: Envelope) -> None: ...

    async def dead_letter(self, dead: InboundMessage) -> None: ...


class FakeServer(Broker):
    """Lets connections be opened, or not."""

    kind = "Fake"
    refusals = (RefusedError,)
    rejections = (NackError,)

    def __init__(self, *, failure: Exception | None = None) -> None:
        self.made: list[FakeConnection] = []
        self.failure = failure

    def new_connection(self) -> FakeConnection:
        self.made.append(FakeConnection(self.failure))
        return self.made[-1]

    def consume(self, prefetch: int) -> NoReturn:
        raise NotImplementedError


async def deliver(connection: Connection) -> None:
    await anyio.lowlevel.checkpoint()


def failing(error: Exception) -> Callable[[Connection], Awaitable[None]]:
    async def fail(connection: Connection) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RefusedError(), MessageRefusedError),
        (TimeoutError(), ConfirmTimeoutError),
        (OSError(), BrokerUnavailable),
    ],
)
async def test_after_a_failure_others_begin_on_a_new_connection(
    error: Exception, told: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one may be broken; it is closed with all that is in flight on it."""
    monkeypatch.setattr("aftercommit.extensions.circuit_breaker.PAUSE_SECONDS", 0)
    server = FakeServer()
    publisher = PublisherConnection(server)
    with pytest.raises(told):
        await publisher.send(failing(error))

    with anyio.fail_after(60):
        while len(server.made) < 2:
            with suppress(BrokerUnavailable):  # left alone for as long as the failure took
                await publisher.send(deliver)

    assert [connection.closed for connection in server.made] == [1, 0]


async def test_a_message_that_is_rejected_hurts_no_other() -> None:
    """The broker has answered, so its connection is as good as before."""
    server = FakeServer()
    publisher = PublisherConnection(server)
    with pytest.raises(ConfirmTimeoutError):
        await publisher.send(failing(NackError()))

    assert [connection.closed for connection in server.made] == [0]


async def test_a_publish_that_is_cancelled_hurts_nobody() -> None:
    """Neither those in flight, nor those to come."""
    server, confirm = FakeServer(), Event()
    publisher = PublisherConnection(server)

    async def wait(connection: Connection) -> None:
        await confirm.wait()

    async with create_task_group() as group:
        group.start_soon(publisher.send, wait)
        await anyio.wait_all_tasks_blocked()
        with CancelScope() as scope:
            scope.cancel()
            await publisher.send(wait)
        confirm.set()
    await publisher.send(deliver)

    assert [connection.closed for connection in server.made] == [0]


async def test_a_connection_that_was_lost_meanwhile_costs_no_message() -> None:
    """Quiet connections are cut by what is in between; without this, one event would be late."""
    server = FakeServer()
    publisher = PublisherConnection(server)
    await publisher.send(deliver)
    server.made[0].loss = OSError()

    await publisher.send(deliver)
    await publisher.close()

    assert [connection.closed for connection in server.made] == [0, 1]


async def test_while_a_broker_is_known_to_be_away_all_fail_at_once() -> None:
    """Or everybody would wait for it who has other work to do."""
    server = FakeServer(failure=OSError("refused"))
    publisher = PublisherConnection(server)
    with pytest.raises(BrokerUnavailable, match="Fake is not available: refused"):
        await publisher.send(deliver)
    server.failure = None

    with pytest.raises(BrokerUnavailable, match="refused"):
        await publisher.send(deliver)

    assert [connection.closed for connection in server.made] == [1]


async def test_a_cancellation_that_a_library_made_up_is_a_lost_connection() -> None:
    """Some cancel their own waiters when a connection is lost."""

    async def cancelled_by_library(connection: Connection) -> None:
        raise asyncio.CancelledError

    with pytest.raises(BrokerUnavailable, match="the connection was lost"):
        await PublisherConnection(FakeServer()).send(cancelled_by_library)


async def test_a_timeout_of_asyncio_around_us_is_no_lost_connection() -> None:
    """Whoever copies this may call it from code that knows no AnyIO."""
    server = FakeServer()

    async def wait(connection: Connection) -> None:
        await asyncio.Event().wait()

    publisher = PublisherConnection(server)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await publisher.send(wait)
    await publisher.send(deliver)

    assert [connection.closed for connection in server.made] == [0]
