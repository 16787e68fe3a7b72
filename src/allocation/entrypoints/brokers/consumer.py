"""The consumer: takes commands from the brokers, until it is told to stop.

A message is acknowledged after the commit of its command. If that acknowledgement is lost, the
message comes again, and is recognized by its id and source. What the command has caused is handed
on after that, and keeps no message waiting: its deliveries are owed in any case.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from anyio import Semaphore, move_on_after
from anyio.abc import TaskGroup

from allocation.adapters.brokers import DEAD_COMMANDS, Broker, BrokerSettings, Incoming
from allocation.adapters.brokers.cloud_events import from_cloud_event
from allocation.adapters.brokers.exceptions import BrokerUnavailable
from allocation.adapters.brokers.line import describe
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.domain.exceptions import AllocationError, Conflict, InvalidValue, Unavailable
from allocation.entrypoints.running import Service, StopSignal, task_group
from allocation.service_layer.delivery import is_permanent
from allocation.service_layer.envelopes import Envelope
from allocation.service_layer.exceptions import MessageAlreadyHandled
from allocation.service_layer.messagebus import MessageBus

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0

logger = logging.getLogger(__name__)


def consuming(settings: Settings) -> Service:
    """Return the service.

    :raises InvalidValue: if there is no broker
    """
    of_brokers = settings.of(BrokerSettings)
    if not of_brokers.urls:
        raise InvalidValue("ALLOCATION_BROKER_URL", "is not set: there is nothing to consume")

    async def consume(application: Application, stop: StopSignal) -> None:
        publishers = application.publishers.values()
        consumer = Consumer(
            application.bus,
            [broker for broker in publishers if isinstance(broker, Broker)],
            stop,
            prefetch=of_brokers.prefetch,
            concurrency=settings.concurrency,
            max_attempts=settings.max_attempts,
        )
        await consumer.run()

    return consume


@dataclass(slots=True)
class _Session:
    """One connection to one broker: who has its messages in hand, and what these have caused."""

    broker: Broker[Any]
    hands: Semaphore
    dispatches: TaskGroup
    is_over: bool = False


class Consumer:
    """Has up to `prefetch` messages of each RabbitMQ in hand; of each Kafka, one.

    A hand is free when the message is acknowledged. Of what the commands have caused, up to
    `concurrency` trees of events are handed on at a time; the others are left to workers.
    """

    def __init__(
        self,
        bus: MessageBus,
        brokers: Sequence[Broker[Any]],
        stop: StopSignal,
        *,
        prefetch: int,
        concurrency: int,
        max_attempts: int,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        self._bus = bus
        self._brokers = brokers
        self._stop = stop
        self._prefetch = prefetch
        self._concurrency = concurrency
        self._dispatching = 0
        self._has_left_some = False
        self._max_attempts = max_attempts
        self._first_pause = first_pause

    async def run(self) -> None:
        """Consume from all brokers until told to stop, and then until all in hand is done."""
        async with task_group() as group:
            for broker in self._brokers:
                group.start_soon(self._consume, broker, group)

    async def _consume(self, broker: Broker[Any], dispatches: TaskGroup) -> None:
        """Consume from one broker; when it goes away, wait for it, longer each time."""
        failures = 0
        while not self._stop.is_set:
            hands = Semaphore(1 if broker.ack_covers_earlier else self._prefetch)
            try:
                async with AsyncExitStack() as stack:
                    messages = await self._open(broker, stack)
                    if messages is None:
                        return
                    failures = 0
                    await self._take(_Session(broker, hands, dispatches), messages)
            except Exception as error:  # nothing at one broker may end the others
                if self._stop.is_set:
                    return
                known = isinstance(error, BrokerUnavailable)
                trouble = error if known else BrokerUnavailable(broker.kind, describe(error))
                logger.warning("%s; trying again", trouble)
            await self._pause(failures)
            failures += 1

    async def _open(
        self, broker: Broker[Any], stack: AsyncExitStack
    ) -> AsyncGenerator[Incoming] | None:
        """Open the messages, for as long as the stack is; None if it is to stop before."""
        messages = None
        async with _until_set(self._stop):
            messages = await stack.enter_async_context(broker.consume(self._prefetch))
            await stack.enter_async_context(aclosing(messages))
            logger.info("consuming from %s", broker.kind)
        return messages

    async def _take(self, session: _Session, messages: AsyncGenerator[Incoming]) -> None:
        """Take messages until the process is to stop or they end; then wait for those in hand."""
        hands = session.hands
        async with task_group() as in_hand, _until_set(self._stop):
            await hands.acquire()  # first: an offset would count a message that was only fetched
            try:
                async for message in messages:
                    in_hand.start_soon(self._handle, session, message)
                    await hands.acquire()
            finally:
                session.is_over = True

    async def _handle(self, session: _Session, message: Incoming) -> None:
        try:
            if events := await self._until_settled(session, message):
                await self._hand_on(session, events)
        finally:
            session.hands.release()

    async def _hand_on(self, session: _Session, events: Sequence[Envelope]) -> None:
        """Let events be dispatched beside the messages, or leave them if that is enough already."""
        if self._dispatching < self._concurrency:
            self._dispatching += 1
            session.dispatches.start_soon(self._dispatch, events)
        else:
            await self._leave(events)

    async def _dispatch(self, events: Sequence[Envelope]) -> None:
        try:
            await self._bus.dispatch(events)
        finally:
            self._dispatching -= 1

    async def _leave(self, events: Sequence[Envelope]) -> None:
        if not self._has_left_some:
            logger.info("more comes in than can be dispatched here: some is left to workers")
        self._has_left_some = True
        await self._bus.leave(events)

    async def _until_settled(self, session: _Session, message: Incoming) -> Sequence[Envelope]:
        """Settle the message, however long it takes.

        If it has to wait, and the session ends or it is to stop before, leave it as it is: it comes
        again. Only a mistake in the program is not tried for ever: it would hold up what comes
        after it.
        """
        broker = session.broker
        mistakes: list[Exception] = []
        for failures in count():
            try:
                if len(mistakes) >= self._max_attempts:
                    return await self._dead_letter(broker, message, mistakes[-1])
                return await self._settle(broker, message)
            except (Unavailable, Conflict) as error:
                logger.warning("a message has to wait: %s", error)
            except Exception as mistake:
                logger.exception("a message has to wait")
                mistakes.append(mistake)
            await self._pause(failures)
            if session.is_over or self._stop.is_set:
                break
        return ()

    async def _pause(self, failures: int) -> None:
        seconds = min(LONGEST_PAUSE_SECONDS, self._first_pause * 2.0 ** min(failures, 10))
        with move_on_after(seconds):
            await self._stop.wait()

    async def _settle(self, broker: Broker[Any], message: Incoming) -> Sequence[Envelope]:
        """Execute the command and acknowledge it; dead-letter what is refused for good."""
        events: Sequence[Envelope] = ()
        try:
            events = await self._bus.execute(*from_cloud_event(message.body))
        except MessageAlreadyHandled as repeated:
            logger.info("%s", repeated)
        except AllocationError as error:
            if not is_permanent(error):
                raise
            return await self._dead_letter(broker, message, error)
        await _acknowledge(message)
        return events

    async def _dead_letter(
        self, broker: Broker[Any], message: Incoming, error: Exception
    ) -> tuple[()]:
        await broker.dead_letter(message, error)
        logger.warning("a message is in %s: %s", DEAD_COMMANDS, error)
        await _acknowledge(message)
        return ()


@asynccontextmanager
async def _until_set(stop: StopSignal) -> AsyncIterator[None]:
    """Cancel the body when it is to stop."""

    async def cancel_at_end() -> None:
        await stop.wait()
        group.cancel_scope.cancel()

    async with task_group() as group:
        group.start_soon(cancel_at_end)
        yield
        group.cancel_scope.cancel()


async def _acknowledge(message: Incoming) -> None:
    try:
        await message.ack()
    except Exception as error:
        logger.warning("a message could not be acknowledged, it will come again: %s", error)
