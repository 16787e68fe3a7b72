"""The message bus: takes a command to its handler, and fans events out to all of theirs.

Source: *Architecture Patterns with Python*, chapters 8 to 10. Different from the book: handlers of
events run concurrently, each in a unit of work of its own, and a failure is stored, not swallowed.

The bus holds no state of any message, so one bus serves any number of tasks at once.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import anyio
from anyio import CancelScope, current_time, get_cancelled_exc_class

from allocation.domain.commands import Command
from allocation.service_layer import exceptions, facts
from allocation.service_layer.delivery import Delivery, DeliveryPolicy, Failure, Report, Trigger
from allocation.service_layer.envelopes import (
    INSIDE,
    CommandEnvelope,
    Envelope,
    EnvelopeFactory,
    ReceivedMessage,
    working_on,
)
from allocation.service_layer.ports import Outbox
from allocation.service_layer.unit_of_work import NewUnitOfWork
from allocation.service_layer.wiring import BoundHandler, Registry

MAX_OPTIMISTIC_TRIES = 5  # runs of a handler whose data others changed, before it counts as failed
LAST_WORD_SECONDS = 2  # how long it may take to store what became of a cancelled delivery

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBus:
    """Handles commands and events."""

    registry: Registry
    envelope_factory: EnvelopeFactory
    new_uow: NewUnitOfWork
    outbox: Outbox
    policy: DeliveryPolicy
    random: Callable[[], float]
    observers: Sequence[facts.Observer] = ()

    async def handle(self, command: Command, received: ReceivedMessage = INSIDE) -> Report:
        """Execute a command, then dispatch what it caused; return when all of it is settled.

        :raises AllocationError: as `execute`; a failing event handler raises nothing
        """
        events = await self.execute(command, received)
        return Report(events) + await self.dispatch(events)

    async def execute(
        self, command: Command, received: ReceivedMessage = INSIDE
    ) -> tuple[Envelope, ...]:
        """Run the one handler of a command, and return the events it committed, or raise its error.

        They are stored with their deliveries, so nothing is lost if they are not dispatched here;
        and so is the command: one that was received with an id is recognized when it comes again.

        :raises HandlerTimeout: if it takes longer than a handler may; then nothing is stored
        """
        new_id = self.envelope_factory.new_id()
        envelope = CommandEnvelope(id=new_id, command=command, received=received)
        limit = self.policy.handler_timeout
        with working_on(envelope.as_context), facts.told(self.observers, envelope, limit):
            handler = self.registry.commands[type(command)]
            events = await self._run_in_time(handler, envelope, current_time() + limit)
            logger.info("%s handled", type(command).__name__)
            facts.tell(self.observers, facts.Executed(command, events))
        return events

    async def leave(self, events: Iterable[Envelope]) -> None:
        """Leave events that were just committed to workers, at once."""
        for delivery in self._first_attempts(events):
            await self._release(delivery)

    async def dispatch(self, events: Iterable[Envelope]) -> Report:
        """Run all handlers of all events that were just committed, as their first attempt.

        If the policy leaves that to workers, do nothing: the commit has made it due for them.

        They run concurrently, in no particular order; what they commit is dispatched in the same
        way; this returns when the whole tree is settled. A failing handler neither stops nor fails
        another: its failure is stored and in the report. Cancellation loses nothing either.
        """
        return await self.deliver(self._first_attempts(events))

    async def deliver(self, deliveries: Sequence[Delivery]) -> Report:
        """Run the handlers of claimed deliveries, under the promises of `dispatch`."""
        report = Report()
        while len(deliveries) == 1:  # a task would buy no concurrency, and costs twice as much
            report += (attempted := await self._attempt(deliveries[0]))
            deliveries = self._first_attempts(attempted.events)
        return report + await self._deliver_at_once(deliveries) if deliveries else report

    async def _deliver_at_once(self, deliveries: Sequence[Delivery]) -> Report:
        reports: list[Report] = []

        async def deliver(delivery: Delivery) -> None:
            reports.append(await self.deliver([delivery]))

        async with anyio.create_task_group() as group:
            for delivery in deliveries:
                group.start_soon(deliver, delivery)
        return sum(reports, Report())

    async def _attempt(self, delivery: Delivery) -> Report:
        """Attempt one delivery; report what its handler has committed, or how it failed."""
        with working_on(delivery.as_context):
            try:
                events = await self._attempt_in_time(delivery)
            except exceptions.LeaseOver as late:
                logger.warning("%s", late)
                await self._release(delivery)
                return Report((), (Failure(delivery=delivery, error=late, retry_in=0.0),))
            except exceptions.DeliverySuperseded as superseded:
                return self._leave_to_its_owner(delivery, superseded)
            except Exception as error:
                return await self._record_failure(delivery, error)
            except get_cancelled_exc_class():
                await self._release(delivery)
                raise
            facts.tell(self.observers, facts.Delivered(delivery, events))
        return Report(events)

    async def _attempt_in_time(self, delivery: Delivery) -> tuple[Envelope, ...]:
        """Run the handler within the time limit, which counts from the begin of the lease."""
        handler = self.registry.events[delivery.handler]
        deadline = delivery.held_since + self.policy.handler_timeout
        seconds = deadline - current_time()
        with facts.told(self.observers, delivery, seconds):
            if seconds <= 0:
                raise exceptions.LeaseOver(handler.name)
            events = await self._run_in_time(handler, delivery, deadline)
            if not handler.has_uow:
                await _last_word(lambda: self.outbox.settle(delivery))
            return events

    async def _run_in_time(
        self, handler: BoundHandler, trigger: Trigger, deadline: float
    ) -> tuple[Envelope, ...]:
        with CancelScope(deadline=deadline):
            return await self._run(handler, trigger)
        raise exceptions.HandlerTimeout(handler.name, self.policy.handler_timeout)

    async def _run(self, handler: BoundHandler, trigger: Trigger) -> tuple[Envelope, ...]:
        """Run a handler, in a fresh unit of work if it has one; return the committed events.

        Optimistic retry: it is run anew while others change what it has read.
        """
        message = trigger.envelope.event if isinstance(trigger, Delivery) else trigger.command
        delivery = trigger if isinstance(trigger, Delivery) else None
        if not handler.has_uow:
            await handler.run(message, None, delivery)
            return ()
        tries = 0
        while True:
            tries += 1
            try:
                async with (uow := self.new_uow(trigger)):
                    await handler.run(message, uow, delivery)
                return uow.events
            except exceptions.ConcurrentUpdate:
                if tries == MAX_OPTIMISTIC_TRIES:
                    raise
            facts.tell(self.observers, facts.OptimisticRetry(trigger))

    async def _record_failure(self, delivery: Delivery, error: Exception) -> Report:
        pause = self.policy.pause_after(delivery.attempt, error, random=self.random)
        failure = Failure(delivery=delivery, error=error, retry_in=pause)
        try:
            await _last_word(lambda: self.outbox.record_failure(failure))
        except exceptions.DeliverySuperseded as superseded:
            return self._leave_to_its_owner(delivery, f"{failure}; {superseded}")
        except Exception as storing_error:
            logger.error("the next failure could not be stored: %s", storing_error)
            # the row is as it was: it falls due when the lease ends
            failure = replace(failure, retry_in=self.policy.lease)
        later = self.envelope_factory.now() + timedelta(seconds=failure.retry_in or 0)
        fate = "parked" if failure.retry_in is None else f"next attempt at {later:%FT%TZ}"
        logger.warning("%s; %s", failure, fate)
        facts.tell(self.observers, facts.Failed(failure))
        return Report((), (failure,))

    def _leave_to_its_owner(self, delivery: Delivery, reason: object) -> Report:
        logger.info("%s", reason)
        facts.tell(self.observers, facts.Superseded(delivery))
        return Report()

    async def _release(self, delivery: Delivery) -> None:
        try:
            await _last_word(lambda: self.outbox.release(delivery))
        except Exception as error:
            logger.warning("a lease could not be given back, it ends by itself: %s", error)

    def _first_attempts(self, events: Iterable[Envelope]) -> Sequence[Delivery]:
        first_attempts, subscribers = self.policy.first_attempts, self.envelope_factory.subscribers
        return [first for event in events for first in first_attempts(event, subscribers(event))]


async def _last_word(store: Callable[[], Awaitable[None]]) -> None:
    """Store what became of a delivery; once more, but not for ever, if that is cancelled."""
    try:
        await store()
    except get_cancelled_exc_class():
        with anyio.move_on_after(LAST_WORD_SECONDS, shield=True):
            await store()
        raise
