"""The consumer: takes the messages that arrive from the brokers, until shutdown.

What is done with each message is in `message_handler.py`.

Our commands arrive at one inlet, and the messages of each subscription at its own inlet. None waits
for another.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

from anyio import Event, create_task_group
from anyio.abc import TaskGroup

from aftercommit.codec import Codec
from aftercommit.deliveries import inbox
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import (
    is_transient,
)
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.brokers.answers_to_senders import Answers
from aftercommit.extensions.brokers.base import (
    Broker,
    ReceivedMessage,
    describe,
)
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.cloud_events import Accepted, from_cloud_event
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    SourceMissing,
)
from aftercommit.extensions.brokers.message_handler import (
    FIRST_PAUSE_SECONDS,
    Intake,
    MessageHandler,
    pause,
)
from aftercommit.extensions.brokers.paused_subscriptions import PausedSubscriptions
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.extensions.brokers.subscriptions import Subscription
from aftercommit.handler_containment import first_error, in_own_task
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.settings import EngineSettings

LOG_SECONDS = 3600.0  # between two lines about what stays wrong

logger = logging.getLogger(__name__)


def consumer_service(
    settings: EngineSettings, accepted: Sequence[type[Any]], subscriptions: Sequence[Subscription]
) -> Service:
    """Return the service that consumes accepted commands and the subscriptions' messages.

    :raises InvalidValue: if there is no broker
    :raises WiringError: at its start, if a translation returns what no handler handles
    """
    of_brokers = settings.of(BrokerSettings)
    if not of_brokers.urls:
        raise settings.refused("broker_urls", "is not set, so there is no broker to consume from")

    async def consume(application: Application, stop: Shutdown) -> None:
        codec, database = application.database.codec, application.database
        by_name = {codec.name_of(each): each for each in accepted}
        application.checked_subscriptions()
        intakes = [
            Intake(inlet=each.inlet(settings.application), read=each.read, source=each.source)
            for each in subscriptions
        ]
        if by_name or not intakes:
            read = partial(_read_command, codec=codec, accepted=by_name)
            intakes.append(Intake(inlet=Channels(settings.application).inlet, read=read))
        consumer = Consumer(
            MessageHandler(
                application.bus,
                partial(inbox.accepted_command, database),
                BoundedDispatch(application.bus, settings.max_dispatches),
                Answers(
                    settings.application,
                    of_brokers.answers_allowed,
                    partial(inbox.events_of_command, database),
                ),
                max_attempts=settings.max_attempts,
            ),
            intakes,
            stop,
            application.readiness_problems,
            application.degradations,
            PausedSubscriptions(database),
            prefetch=of_brokers.prefetch,
        )
        publishers = application.publishers.values()
        await consumer.run([broker for broker in publishers if isinstance(broker, Broker)])

    return consume


def _read_command(
    message: ReceivedMessage, codec: Codec[object], accepted: Accepted
) -> tuple[object, MessageOrigin]:
    return from_cloud_event(message.body, codec, accepted)


@dataclass(eq=False)
class Consumer:
    """Consumes up to `prefetch` messages of a RabbitMQ queue at once, and one of a Kafka topic.

    A message is in flight until it is acknowledged. What they commit is dispatched concurrently, up
    to a limit.

    While nothing is consumed from a broker, `readiness_problems` says so: the process is not ready.
    Problems with the exchange or topic of another service are in `degradations`.
    """

    handler: MessageHandler
    intakes: Sequence[Intake]
    stop: Shutdown
    readiness_problems: dict[object, str]
    degradations: dict[object, str]
    paused: PausedSubscriptions
    prefetch: int
    first_pause: float = FIRST_PAUSE_SECONDS
    clock: Callable[[], float] = monotonic
    _dispatches: TaskGroup = field(init=False)
    _logged: dict[object, tuple[str, float]] = field(default_factory=dict)
    """The last line about each problem, and when it was logged."""

    async def run(self, brokers: Sequence[Broker]) -> None:
        """Consume from all brokers until shutdown, then until all messages in flight are done."""
        async with create_task_group() as self._dispatches:
            if any(each.source for each in self.intakes):
                self._dispatches.start_soon(in_own_task, self.paused.watch, self.stop)
            for broker in brokers:
                for intake in self.intakes:
                    if broker.feeds(intake.inlet):
                        self._dispatches.start_soon(in_own_task, self._consume, broker, intake)

    async def _consume(self, broker: Broker, intake: Intake) -> None:
        """Consume at one inlet; when the broker is down, try again with growing delays."""
        failures, key, at = 0, (broker, intake), intake.at(broker)
        while await self.paused.until_resumed(intake.source, self.stop):
            self.readiness_problems[key] = f"nothing is consumed from {at}"
            try:
                async with AsyncExitStack() as session:
                    async with cancel_on_shutdown(self.stop):
                        opening = broker.consume(
                            intake.inlet, self.prefetch, partial(self._report, key)
                        )
                        messages = await session.enter_async_context(opening)
                        logger.info("consuming from %s", at)
                    if self.stop.is_set():
                        return
                    del self.readiness_problems[key]
                    failures = 0
                    await self._take(broker, intake, messages)
            except Exception as raised:  # an error at one broker must not end the others
                error = first_error(raised)
                if isinstance(error, SourceMissing):
                    self.readiness_problems.pop(key, None)
                    self._report(key, str(error))
                elif not self.stop.is_set():
                    known = is_transient(error)
                    trouble = error if known else BrokerUnavailable(broker.kind, describe(error))
                    logger.warning("%s; trying again", trouble)
            await pause(self.first_pause, failures, self.stop)
            failures += 1

    def _report(self, key: object, problem: str | None) -> None:
        """Note what is wrong with another service's exchange or topic, or that nothing is.

        The log says it at once, and again each hour.
        """
        if problem is None:
            self.degradations.pop(key, None)
            self._logged.pop(key, None)
            return
        self.degradations[key], now = problem, self.clock()
        logged, at = self._logged.get(key, ("", 0.0))
        if logged != problem or now - at >= LOG_SECONDS:
            self._logged[key] = problem, now
            logger.warning("%s; trying again", problem)

    async def _take(
        self, broker: Broker, intake: Intake, messages: AsyncIterator[ReceivedMessage]
    ) -> None:
        """Take messages until shutdown, a pause, or their end; then wait for those in flight."""
        over = Event()
        async with create_task_group() as in_flight:
            try:
                until = partial(self.paused.until_paused, intake.source, self.stop)
                async with cancel_when(until):
                    async for message in messages:
                        handling = partial(
                            self.handler.handle, broker, intake, message, over, self._dispatches
                        )
                        in_flight.start_soon(in_own_task, handling)
            finally:
                over.set()


@asynccontextmanager
async def cancel_when(happened: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Cancel the body when an event has happened for which this waits."""

    async def cancel_at_end() -> None:
        await happened()
        group.cancel_scope.cancel()

    async with create_task_group() as group:
        group.start_soon(cancel_at_end)
        yield
        group.cancel_scope.cancel()


def cancel_on_shutdown(stop: Shutdown) -> AbstractAsyncContextManager[None]:
    """Cancel the body at shutdown."""
    return cancel_when(stop.wait)
