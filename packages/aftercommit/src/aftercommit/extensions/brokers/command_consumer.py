"""The consumer: executes the commands that arrive from the brokers, until shutdown.

A message is acknowledged after the commit of its command. If the acknowledgement is lost, the
message arrives again, and is recognized by its id and source. In between, the command's events are
dispatched, for which no message waits, and its sender is answered.

Our commands arrive at one inlet, and the messages of each subscription at its own inlet. None waits
for another.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from anyio import Event, create_task_group, move_on_after
from anyio.abc import TaskGroup

from aftercommit.bus import MessageBus
from aftercommit.claims import Committed
from aftercommit.codec import Codec
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import (
    MessageAlreadyHandled,
    is_permanent,
    is_transient,
    kind_of,
)
from aftercommit.extensions.bounded_dispatch import BoundedDispatch
from aftercommit.extensions.brokers.answers_to_senders import Answers
from aftercommit.extensions.brokers.base import (
    Broker,
    ReceivedMessage,
    describe,
    one_line,
    reject_spurious_cancellation,
)
from aftercommit.extensions.brokers.channel_names import Channels, Inlet
from aftercommit.extensions.brokers.cloud_events import Accepted, from_cloud_event
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    MessageIdReused,
    NotDecoded,
    SourceMissing,
)
from aftercommit.extensions.brokers.paused_subscriptions import PausedSubscriptions
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.extensions.brokers.subscriptions import Subscription
from aftercommit.handler_containment import first_error, in_own_task
from aftercommit.observers import MessageOutcome
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown
from aftercommit.settings import EngineSettings
from aftercommit.sql import inbox
from aftercommit.sql.inbox import AcceptedCommand

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The messages of one inlet, and what each means: a command, or nothing.

    A pause is stored by the name `source`; our own commands have none, and are never paused.
    """

    inlet: Inlet
    read: Callable[[ReceivedMessage], tuple[object, MessageOrigin] | None]
    source: str | None = None

    def at(self, broker: Broker) -> str:
        """Return what is consumed at a broker, for logs."""
        return broker.kind if self.source is None else f"{broker.kind} ({self.source})"


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
            application.bus,
            intakes,
            partial(inbox.accepted_command, database),
            BoundedDispatch(application.bus, settings.max_dispatches),
            stop,
            application.readiness_problems,
            application.degradations,
            PausedSubscriptions(database),
            Answers(
                settings.application,
                of_brokers.answers_allowed,
                partial(inbox.events_of_command, database),
            ),
            prefetch=of_brokers.prefetch,
            max_attempts=settings.max_attempts,
        )
        publishers = application.publishers.values()
        await consumer.run([broker for broker in publishers if isinstance(broker, Broker)])

    return consume


def _read_command(
    message: ReceivedMessage, codec: Codec[object], accepted: Accepted
) -> tuple[object, MessageOrigin]:
    return from_cloud_event(message.body, codec, accepted)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a message has come to: what it committed, or why it is a dead letter."""

    committed: Committed
    acknowledge: Callable[[], Awaitable[None]]
    refusal: Exception | None = None


@dataclass(eq=False)
class Consumer:
    """Consumes up to `prefetch` messages of a RabbitMQ queue at once, and one of a Kafka topic.

    A message is in flight until it is acknowledged. What they commit is dispatched concurrently, up
    to a limit.

    While nothing is consumed from a broker, `readiness_problems` says so: the process is not ready.
    Problems with the exchange or topic of another service are in `degradations`.
    """

    bus: MessageBus
    intakes: Sequence[Intake]
    find_accepted: Callable[[str, str | None], Awaitable[AcceptedCommand | None]]
    dispatch: BoundedDispatch
    stop: Shutdown
    readiness_problems: dict[object, str]
    degradations: dict[object, str]
    paused: PausedSubscriptions
    answers: Answers
    prefetch: int
    max_attempts: int
    first_pause: float = FIRST_PAUSE_SECONDS
    _dispatches: TaskGroup = field(init=False)

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
            await self._pause(failures, self.stop)
            failures += 1

    def _report(self, key: object, problem: str | None) -> None:
        """Note what is wrong with another service's exchange or topic, or that nothing is."""
        if problem is None:
            self.degradations.pop(key, None)
        elif self.degradations.get(key) != problem:
            self.degradations[key] = problem
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
                        handling = partial(self._handle, broker, intake, message, over)
                        in_flight.start_soon(in_own_task, handling)
            finally:
                over.set()

    async def _handle(
        self, broker: Broker, intake: Intake, message: ReceivedMessage, over: Event
    ) -> None:
        """Take four steps, none of which repeats or changes an earlier one, however long it takes.

        The message has an effect that is committed, or becomes a dead letter; its deliveries are
        dispatched; its sender is answered, within some seconds; it is acknowledged. A process that
        dies in between gets the message again, and recognizes it.
        """
        taken = await self._take_effect(broker, intake, message, over)
        if taken is None:  # it is left, and will arrive again
            return
        if taken.committed.claims:
            self._dispatches.start_soon(in_own_task, self.dispatch.dispatch, taken.committed)
        asked = self.answers.asked(message) if intake.source is None else None
        if asked is not None and not await self.answers.send(broker, asked, taken.refusal):
            self._count(intake, "unanswered")
        await _acknowledge(taken.acknowledge)

    async def _take_effect(
        self, broker: Broker, intake: Intake, message: ReceivedMessage, over: Event
    ) -> "_Taken | None":
        """Execute the command, or make the message a dead letter; None if it is left.

        If the message has to wait and its session is `over`, it is left. All errors but a bug in
        the program are retried without end; a bug would block what follows.
        """
        mistakes: list[Exception] = []
        for failures in count():
            try:
                if len(mistakes) < self.max_attempts:
                    return _Taken(await self._execute_once(intake, message), message.ack)
                return await self._dead_letter(broker, intake, message, mistakes[-1])
            except Exception as raised:
                error = raised
            try:
                if is_permanent(error):
                    return await self._dead_letter(broker, intake, message, error)
            except BrokerUnavailable as unavailable:
                error = unavailable
            if kind_of(error) != "defect":
                logger.warning("a message has to wait: %s", one_line(error))
            else:
                logger.error("a message has to wait", exc_info=error)
                mistakes.append(error)
            await self._pause(failures, over)
            if over.is_set():
                return None
        raise AssertionError  # a count has no end

    async def _dead_letter(
        self, broker: Broker, intake: Intake, message: ReceivedMessage, error: Exception
    ) -> "_Taken":
        """Make a message a dead letter. If the broker accepts none, it moves the message itself.

        :raises BrokerUnavailable: if the broker accepts none, and cannot move the message itself
        """
        acknowledge, reason, to = message.ack, one_line(error), intake.inlet.dead_letters
        try:
            await broker.dead_letter(message, error, to)
            logger.warning("a message was dead-lettered to %s: %s", to, reason)
        except BrokerUnavailable as refusal:
            if message.reject is None:
                raise
            left = "%s itself dead-letters a message (%s): %s"
            logger.warning(left, broker.kind, refusal, reason)
            acknowledge = message.reject
        self._count(intake, "dead")
        return _Taken(Committed(), acknowledge, error)

    async def _execute_once(self, intake: Intake, message: ReceivedMessage) -> Committed:
        if message.undecodable:  # nobody can say whether it concerns us
            raise NotDecoded(message.undecodable)
        if (read := intake.read(message)) is None:
            self._count(intake, "ignored")
            return Committed()
        command, origin = read
        try:
            committed = await self.bus.execute(command, origin)
            self._count(intake, "executed")
            return committed
        except MessageAlreadyHandled as repeated:
            first = await self.find_accepted(origin.source, origin.id)
            if first is None:  # pruned a moment ago: if it arrives again, it is new
                raise
            if first.fingerprint not in (None, origin.fingerprint):  # None: erased
                raise MessageIdReused(origin.source, origin.id) from None
            logger.info("%s", repeated)
            self._count(intake, "repeated")
            return Committed()

    def _count(self, intake: Intake, outcome: MessageOutcome) -> None:
        self.bus.instrumentation.message(intake.source or "commands", outcome)

    async def _pause(self, failures: int, end: Event) -> None:
        seconds = min(LONGEST_PAUSE_SECONDS, self.first_pause * 2.0 ** min(failures, 10))
        with move_on_after(seconds):
            await end.wait()


async def _acknowledge(ack: Callable[[], Awaitable[None]]) -> None:
    try:
        await reject_spurious_cancellation(ack)
    except Exception as error:
        reason = describe(error)
        logger.warning("a message could not be acknowledged and will arrive again: %s", reason)


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
