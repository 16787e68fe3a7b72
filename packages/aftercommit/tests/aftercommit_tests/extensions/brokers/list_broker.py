"""A broker that is a list, and a consumer of it: for what no real broker does when a test wants it.

What needs no such moment is tested on real brokers.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, cast

import anyio
from aftercommit import MessageOrigin
from aftercommit.process.running_services import Shutdown
from anyio import create_memory_object_stream

from aftercommit_tests.builders import from_cloud_event
from aftercommit_tests.inside.brokers import (
    Answers,
    Broker,
    Channels,
    Consumer,
    Inlet,
    Intake,
    MessageHandler,
    PausedSubscriptions,
    ReceivedMessage,
    Report,
)
from aftercommit_tests.inside.errors import BrokerUnavailable
from aftercommit_tests.inside.stored import inbox
from aftercommit_tests.inside.web import BoundedDispatch
from aftercommit_tests.things.domain import MakeThing
from aftercommit_tests.things.handlers import HANDLERS, make_thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

LIMIT_SECONDS = 60
CUT = b"cut"


@dataclass(eq=False)
class ListBroker:
    """Hands out the messages it was given, and remembers what became of them."""

    kind: str = "Fake"
    channels: Channels = field(default_factory=lambda: Channels("things"))
    acknowledged: list[bytes] = field(default_factory=list)
    dead_lettered: list[tuple[bytes, str]] = field(default_factory=list)
    opened: int = 0
    is_away: bool = False
    ack_error: BaseException | None = None
    dead_lettering_fails: int = 0
    lacks: Sequence[str | None] = ()
    """What another service lacks at first, and then, when it is consumed from."""

    def __post_init__(self) -> None:
        self._send, self._receive = create_memory_object_stream[bytes](1000)
        self._acks, self._next_ack = create_memory_object_stream[None](1000)

    def feeds(self, inlet: Inlet) -> bool:
        return True

    def put(self, *bodies: bytes) -> None:
        for body in bodies:
            self._send.send_nowait(body)

    def cut(self) -> None:
        """Break the connection; another one can be made, unless it is down."""
        self.put(CUT)

    async def acks(self, count: int = 1) -> None:
        """Wait for so many more acknowledgements."""
        for _ in range(count):
            await self._next_ack.receive()

    async def handle_in_turn(self, *bodies: bytes) -> None:
        """Hand out each message when the one before is acknowledged."""
        for body in bodies:
            self.put(body)
            await self.acks()

    @asynccontextmanager
    async def consume(
        self, inlet: Inlet, prefetch: int, report: Report
    ) -> AsyncIterator[AsyncGenerator[ReceivedMessage]]:
        if self.is_away:
            raise ConnectionError("it is away")
        self.opened += 1
        for each in self.lacks:
            report(each)
        yield self._messages()

    async def _messages(self) -> AsyncGenerator[ReceivedMessage]:
        while (body := await self._receive.receive()) != CUT:
            yield ReceivedMessage(body=body, headers={}, ack=partial(self._ack, body))
        raise ConnectionError("it was cut")

    async def _ack(self, body: bytes) -> None:
        if self.ack_error:
            raise self.ack_error
        self.acknowledged.append(body)
        self._acks.send_nowait(None)

    async def dead_letter(self, message: ReceivedMessage, error: Exception, to: str) -> None:
        if self.dead_lettering_fails:
            self.dead_lettering_fails -= 1
            raise BrokerUnavailable(self.kind, "it is away")
        self.dead_lettered.append((message.body, type(error).__name__))

    def close(self) -> None:
        for stream in (self._send, self._receive, self._acks, self._next_ack):
            stream.close()


@dataclass
class Failing:
    """A handler that raises these errors, one each time, before it does its work."""

    errors: list[Exception] = field(default_factory=list)
    calls: int = 0

    async def make_thing(self, command: MakeThing, uow: UnitOfWork) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        await make_thing(command, uow)

    def handlers(self) -> dict[str, Any]:
        """Return what a world has to be given, so that this one makes things."""
        return {"command_handlers": {**HANDLERS.commands, MakeThing: self.make_thing}}


def read_command(message: ReceivedMessage) -> tuple[object, MessageOrigin]:
    """Return a command in our own format."""
    return from_cloud_event(message.body)


@asynccontextmanager
async def consuming(
    broker: ListBroker | Broker,
    world: World,
    *intakes: Intake,
    readiness_problems: dict[object, str] | None = None,
    degradations: dict[object, str] | None = None,
    answer_to: Collection[str] = (),
    clock: Callable[[], float] = monotonic,
) -> AsyncIterator[Shutdown]:
    """Run a consumer beside the test, in 60 s at most; it is stopped with the context.

    Without any intakes, it takes commands.
    """
    stop = Shutdown()
    handler = MessageHandler(
        world.bus,
        partial(inbox.accepted_command, world.database),
        BoundedDispatch(world.bus, 20),
        Answers("things", answer_to, partial(inbox.events_of_command, world.database)),
        max_attempts=3,
        first_pause=0.0,
    )
    consumer = Consumer(
        handler,
        intakes or [Intake(inlet=broker.channels.inlet, read=read_command)],
        stop,
        {} if readiness_problems is None else readiness_problems,
        {} if degradations is None else degradations,
        PausedSubscriptions(world.database),
        prefetch=5,
        first_pause=0.0,
        clock=clock,
    )
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(consumer.run, [cast("Broker", broker)])
            yield stop
            stop.set()
