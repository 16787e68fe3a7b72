"""The consumer: executes the commands that arrive from the brokers, until shutdown.

A message is acknowledged after the commit of its command. If that acknowledgement is lost, the
message comes again, and is recognized by its id and source. The events of the command are
dispatched after that and keep no message waiting: their deliveries are stored in any case.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from anyio import Event, create_task_group, move_on_after
from anyio.abc import TaskGroup

from aftercommit.bus import MessageBus
from aftercommit.claims import Committed
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled, is_permanent, is_transient, kind_of
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.brokers.base import (
    Broker,
    InboundMessage,
    describe,
    reject_spurious_cancellation,
)
from aftercommit.extensions.brokers.cloud_events import from_cloud_event
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable, MessageIdReused
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.handler_containment import first_error, in_own_task
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.settings import EngineSettings
from aftercommit.sql import inbox
from aftercommit.sql.inbox import AcceptedCommand

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


def consumer_service(settings: EngineSettings, accepted: Sequence[type[Any]]) -> Service:
    """Return the service, for these commands.

    :raises InvalidValue: if there is no broker
    """
    of_brokers = settings.of(BrokerSettings)
    if not of_brokers.urls:
        raise settings.refused("broker_urls", "is not set: there is nothing to consume")

    async def consume(application: Application, stop: Shutdown) -> None:
        codec = application.database.codec
        by_name = {codec.name_of(each): each for each in accepted}
        consumer = Consumer(
            application.bus,
            partial(from_cloud_event, codec=codec, accepted=by_name),
            partial(inbox.accepted_command, application.database),
            BoundedDispatch(application.bus, settings.max_dispatches),
            stop,
            application.readiness_problems,
            prefetch=of_brokers.prefetch,
            max_attempts=settings.max_attempts,
        )
        publishers = application.publishers.values()
        await consumer.run([broker for broker in publishers if isinstance(broker, Broker)])

    return consume


@dataclass(eq=False)
class Consumer:
    """Has up to `prefetch` messages of each RabbitMQ in flight; of each Kafka, one.

    A message is in flight until it is acknowledged. What the commands commit is dispatched beside
    that, up to a limit.

    While nothing is consumed from a broker, `readiness_problems` says so: the process is not ready.
    """

    bus: MessageBus
    read: Callable[[bytes], tuple[object, MessageOrigin]]
    find_accepted: Callable[[str, str | None], Awaitable[AcceptedCommand | None]]
    dispatch: BoundedDispatch
    stop: Shutdown
    readiness_problems: dict[object, str]
    prefetch: int
    max_attempts: int
    first_pause: float = FIRST_PAUSE_SECONDS
    _dispatches: TaskGroup = field(init=False)

    async def run(self, brokers: Sequence[Broker]) -> None:
        """Consume from all brokers until shutdown, and then until all in flight is done."""
        async with create_task_group() as self._dispatches:
            for broker in brokers:
                self._dispatches.start_soon(in_own_task, self._consume, broker)

    async def _consume(self, broker: Broker) -> None:
        """Consume from one broker; when it goes away, wait for it, longer each time."""
        failures = 0
        while not self.stop.is_set():
            self.readiness_problems[broker] = f"nothing is consumed from {broker.kind}"
            try:
                async with AsyncExitStack() as session:
                    async with cancel_on_shutdown(self.stop):
                        opening = broker.consume(self.prefetch)
                        messages = await session.enter_async_context(opening)
                        logger.info("consuming from %s", broker.kind)
                    if self.stop.is_set():
                        return
                    del self.readiness_problems[broker]
                    failures = 0
                    await self._take(broker, messages)
            except Exception as raised:  # nothing at one broker may end the others
                error = first_error(raised)
                known = is_transient(error)
                trouble = error if known else BrokerUnavailable(broker.kind, describe(error))
                if not self.stop.is_set():
                    logger.warning("%s; trying again", trouble)
            await self._pause(failures, self.stop)
            failures += 1

    async def _take(self, broker: Broker, messages: AsyncIterator[InboundMessage]) -> None:
        """Take messages until shutdown or until they end; then wait for those in flight."""
        over = Event()
        async with create_task_group() as in_flight:
            try:
                async with cancel_on_shutdown(self.stop):
                    async for message in messages:
                        in_flight.start_soon(in_own_task, self._handle, broker, message, over)
            finally:
                over.set()

    async def _handle(self, broker: Broker, message: InboundMessage, over: Event) -> None:
        """Execute the command and acknowledge its message, however long that takes.

        If it has to wait, and its session is `over`, leave it as it is: it comes again. Only a
        mistake in the program is not tried for ever: it would hold up what comes after it.
        """
        mistakes: list[Exception] = []
        for failures in count():
            fatal = mistakes[-1] if len(mistakes) >= self.max_attempts else None
            try:
                committed = await self._execute(broker, message, fatal)
                if committed.claims:
                    self._dispatches.start_soon(in_own_task, self.dispatch.dispatch, committed)
                return
            except Exception as error:
                if kind_of(error) != "defect":
                    logger.warning("a message has to wait: %s", error)
                else:
                    logger.exception("a message has to wait")
                    mistakes.append(error)
            await self._pause(failures, over)
            if over.is_set():
                return

    async def _execute(
        self, broker: Broker, message: InboundMessage, fatal: Exception | None
    ) -> Committed:
        """Execute the command and acknowledge its message; return what it has committed.

        What is refused for good is dead-lettered and acknowledged; so is all that is `fatal`. If
        the broker takes no dead letter, and can move the message itself, that is left to it.

        :raises Exception: if it may work later; then the message is as it was
        """
        committed = Committed()
        try:
            if fatal:
                raise fatal
            committed = await self._execute_once(message.body)
        except Exception as error:
            if error is not fatal and not is_permanent(error):
                raise
            try:
                await broker.dead_letter(message, error)
            except BrokerUnavailable as refusal:
                if message.reject is None:
                    raise
                left = "a message is left to %s to dead-letter (%s): %s"
                logger.warning(left, broker.kind, refusal, error)
                await _acknowledge(message.reject)
                return committed
            logger.warning("a message is in %s: %s", broker.channels.dead_letters, error)
        await _acknowledge(message.ack)
        return committed

    async def _execute_once(self, body: bytes) -> Committed:
        command, origin = self.read(body)
        try:
            return await self.bus.execute(command, origin)
        except MessageAlreadyHandled as repeated:
            first = await self.find_accepted(origin.source, origin.id)
            if first is None:  # pruned a moment ago: when it comes again, it is a new one
                raise
            if first.fingerprint not in (None, origin.fingerprint):  # None: erased
                raise MessageIdReused(origin.source, origin.id) from None
            logger.info("%s", repeated)
            return Committed()

    async def _pause(self, failures: int, end: Event) -> None:
        seconds = min(LONGEST_PAUSE_SECONDS, self.first_pause * 2.0 ** min(failures, 10))
        with move_on_after(seconds):
            await end.wait()


async def _acknowledge(ack: Callable[[], Awaitable[None]]) -> None:
    try:
        await reject_spurious_cancellation(ack)
    except Exception as error:
        reason = describe(error)
        logger.warning("a message could not be acknowledged, it will come again: %s", reason)


@asynccontextmanager
async def cancel_on_shutdown(stop: Shutdown) -> AsyncIterator[None]:
    """Cancel the body at shutdown."""

    async def cancel_at_end() -> None:
        await stop.wait()
        group.cancel_scope.cancel()

    async with create_task_group() as group:
        group.start_soon(cancel_at_end)
        yield
        group.cancel_scope.cancel()
