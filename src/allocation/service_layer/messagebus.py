"""The message bus: takes a command to its handler, and fans events out to all of theirs.

Source: *Architecture Patterns with Python*, chapters 8 to 10. Different from the book: handlers of
events run concurrently, each in a unit of work of its own, and a failure is stored, not swallowed.

The bus holds no state of any message, so one bus serves any number of tasks at once.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import ParamSpec, Protocol
from uuid import UUID

from anyio import (
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import TaskGroup

from allocation.domain.commands import Command
from allocation.domain.events import Event
from allocation.service_layer.cancellation import cause_of, is_being_cancelled
from allocation.service_layer.context import working_on
from allocation.service_layer.delivery import (
    Delivery,
    DeliveryPolicy,
    Envelope,
    Failure,
    MessageContext,
    ReceivedMessage,
    Report,
    first_attempts,
)
from allocation.service_layer.exceptions import (
    ConcurrentUpdate,
    DeliverySuperseded,
    HandlerAborted,
    HandlerTimeout,
    LeaseOver,
)
from allocation.service_layer.ports import Outbox
from allocation.service_layer.unit_of_work import EnvelopeFactory, NewUnitOfWork, UnitOfWork
from allocation.service_layer.watchdog import Watchdog

MAX_OPTIMISTIC_TRIES = 5  # runs of a handler whose data others changed, before it counts as failed

LAST_WORD_SECONDS = 2  # how long it may take to store what became of a cancelled delivery

P = ParamSpec("P")
Run = Callable[[Command | Event, UnitOfWork | None, Delivery | None], Awaitable[None]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundHandler:
    """A handler with its dependencies; `has_uow` tells whether it works in a unit of work."""

    name: str
    has_uow: bool
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The handlers this process can run: of commands by type, of events by name."""

    commands: Mapping[type[Command], BoundHandler]
    events: Mapping[str, BoundHandler]


class Observer(Protocol):
    """Is told what happens as it happens, for display. What it raises is logged and ignored."""

    def executed(self, command: Command, events: Sequence[Envelope]) -> None:
        """Take note of a command that was accepted, and of the events it committed."""

    def delivered(self, delivery: Delivery, events: Sequence[Envelope]) -> None:
        """Take note of a handler that has done its work, and of the events it committed."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """What has come out of one tree of deliveries so far."""

    events: list[Envelope] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class MessageBus:
    """Handles commands and events."""

    def __init__(
        self,
        *,
        registry: Registry,
        envelope_factory: EnvelopeFactory,
        new_uow: NewUnitOfWork,
        outbox: Outbox,
        policy: DeliveryPolicy,
        random: Callable[[], float],
        observer: Observer,
        watchdog: Watchdog,
    ) -> None:
        self._registry = registry
        self._envelope_factory = envelope_factory
        self._new_uow = new_uow
        self._outbox = outbox
        self._policy = policy
        self._random = random
        self._observer = observer
        self._watchdog = watchdog

    @property
    def event_handlers(self) -> Sequence[str]:
        """The names of the handlers of events that this process can run."""
        return list(self._registry.events)

    async def handle(self, command: Command, *, correlation_id: UUID | None = None) -> Report:
        """Execute a command, then dispatch what it caused; return when all of it is settled.

        :raises AllocationError: as `execute`; a failing event handler raises nothing
        """
        events = await self.execute(command, correlation_id=correlation_id)
        report = await self.dispatch(events)
        return Report((*events, *report.events), report.failures)

    async def execute(
        self,
        command: Command,
        *,
        correlation_id: UUID | None = None,
        received: ReceivedMessage | None = None,
    ) -> tuple[Envelope, ...]:
        """Run the one handler of a command, and return the events it committed.

        They are stored with their deliveries, so nothing is lost if they are not dispatched here.

        :raises Malformed: if the command can never be accepted
        :raises Refused: if a rule says no
        :param received: the message from outside that the command came in; stored with it
        :raises MessageAlreadyHandled: if that message has been stored before
        :raises Conflict: if others changed what it had read, at every optimistic retry
        :raises Unavailable: if a resource is missing
        :raises Mistake: if the handler is written wrongly; nothing is stored
        """
        message_id = self._envelope_factory.new_id()
        context = MessageContext(
            correlation_id=correlation_id or message_id, causation_id=message_id
        )
        with working_on(context):
            handler = self._registry.commands[type(command)]
            events = await self._run(handler, command, context, received=received)
            logger.info("%s handled", type(command).__name__)
            self._tell(lambda: self._observer.executed(command, events))
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
        tree = _Tree()
        while len(deliveries) == 1:  # a task would buy no concurrency
            deliveries = await self._attempt(deliveries[0], tree)
        if deliveries:
            async with create_task_group() as group:
                await self._fan_out(deliveries, group, tree)
        return Report(tuple(tree.events), tuple(tree.failures))

    async def _fan_out(self, deliveries: Sequence[Delivery], group: TaskGroup, tree: _Tree) -> None:
        while deliveries:
            *others, last = deliveries
            for delivery in others:
                group.start_soon(self._fan_out, (delivery,), group, tree)
            deliveries = await self._attempt(last, tree)

    async def _attempt(self, delivery: Delivery, tree: _Tree) -> Sequence[Delivery]:
        """Attempt one delivery, and return those that follow from what its handler committed."""
        with working_on(delivery.envelope.as_context):
            try:
                events = await self._deliver_one(delivery)
            except LeaseOver as late:
                await self._release(delivery)
                logger.warning("%s", late)
                tree.failures.append(Failure(delivery=delivery, error=late, retry_in=0.0))
                return ()
            except DeliverySuperseded as superseded:
                logger.info("%s", superseded)
                return ()
            except Exception as error:
                tree.failures.append(await self._record_failure(delivery, error))
                return ()
            except get_cancelled_exc_class():
                await self._release(delivery)
                raise
            self._tell(lambda: self._observer.delivered(delivery, events))
        tree.events.extend(events)
        return self._first_attempts(events)

    async def _deliver_one(self, delivery: Delivery) -> tuple[Envelope, ...]:
        """Run the handler within the time limit, which counts from the begin of the lease."""
        handler, envelope = self._registry.events[delivery.handler], delivery.envelope
        seconds = delivery.held_since + self._policy.handler_timeout - current_time()
        if seconds <= 0:
            raise LeaseOver(handler.name)
        done = False
        with (
            self._watchdog.watching(f"{handler.name} on event {envelope.id}", seconds),
            move_on_after(seconds),
        ):
            events = await self._run(
                handler, envelope.event, envelope.as_context, delivery=delivery
            )
            done = True
        if not done:
            raise HandlerTimeout(handler.name, self._policy.handler_timeout)
        if not handler.has_uow:
            await _last_word(self._outbox.settle, delivery)
        return events

    async def _run(
        self,
        handler: BoundHandler,
        message: Command | Event,
        context: MessageContext,
        *,
        delivery: Delivery | None = None,
        received: ReceivedMessage | None = None,
    ) -> tuple[Envelope, ...]:
        """Run a handler, in a fresh unit of work if it has one; return the committed events.

        Optimistic retry: it is run anew while others change what it has read.
        """
        if not handler.has_uow:
            await _unless_aborted(handler, message, None, delivery)
            return ()
        tries = 0
        while True:
            tries += 1
            uow = self._new_uow(context, delivery, received)
            try:
                async with uow:
                    await _unless_aborted(handler, message, uow, delivery)
                return uow.events
            except ConcurrentUpdate:
                if tries == MAX_OPTIMISTIC_TRIES:
                    raise

    async def _record_failure(self, delivery: Delivery, error: Exception) -> Failure:
        pause = self._policy.pause_after(delivery.attempt, error, random=self._random)
        try:
            if pause is None:
                await _last_word(self._outbox.park, delivery, error)
            else:
                reschedule = partial(self._outbox.reschedule, pause=pause)
                await _last_word(reschedule, delivery, error)
        except Exception as storing_error:
            logger.error("the next failure could not be stored: %s", storing_error)
            pause = self._policy.lease  # the row is as it was: it falls due when the lease ends
        self._log_failure(delivery, error, pause)
        return Failure(delivery=delivery, error=error, retry_in=pause)

    def _log_failure(self, delivery: Delivery, error: Exception, pause: float | None) -> None:
        if pause is None:
            fate = "parked"
        else:
            fate = (
                f"next attempt at {self._envelope_factory.now() + timedelta(seconds=pause):%FT%TZ}"
            )
        logger.warning(
            "%s failed on %s %s, attempt %d: %s: %s; %s",
            delivery.handler,
            type(delivery.envelope.event).__name__,
            delivery.envelope.id,
            delivery.attempt,
            type(error).__name__,
            error,
            fate,
        )

    async def _release(self, delivery: Delivery) -> None:
        try:
            await _last_word(self._outbox.release, delivery)
        except Exception as error:
            logger.warning("a lease could not be given back, it ends by itself: %s", error)

    def _first_attempts(self, events: Iterable[Envelope]) -> Sequence[Delivery]:
        if not self._policy.inline:
            return ()
        subscribers = self._envelope_factory.subscribers
        return [first for event in events for first in first_attempts(event, subscribers(event))]

    def _tell(self, news: Callable[[], None]) -> None:
        try:
            news()
        except Exception:
            logger.exception("an observer failed")


async def _unless_aborted(
    handler: BoundHandler,
    message: Command | Event,
    uow: UnitOfWork | None,
    delivery: Delivery | None,
) -> None:
    """Run a handler, which may neither end the process nor make a cancellation up.

    Of a group of errors, it raises the first, so that it is known and dealt with by its kind.

    :raises HandlerAborted: if it tried
    """
    try:
        await handler.run(message, uow, delivery)
    except BaseException as error:
        cause = cause_of(error)
        may_pass = isinstance(cause, (Exception, KeyboardInterrupt, GeneratorExit))
        if not may_pass and not is_being_cancelled(cause):
            raise HandlerAborted(handler.name, cause) from error
        if cause is error:
            raise
        raise cause from error


async def _last_word(
    store: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Store what became of a delivery; once more, but not for ever, if that is cancelled."""
    try:
        await store(*args, **kwargs)
    except get_cancelled_exc_class():
        with move_on_after(LAST_WORD_SECONDS, shield=True):
            await store(*args, **kwargs)
        raise
