"""One attempt to handle one message: in time, in a fresh unit of work, and what becomes of it.

The message bus is made of this and of what it adds: which attempts are made, and how many at once.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, current_time, get_cancelled_exc_class

from allocation.domain.commands import Command
from allocation.service_layer import exceptions
from allocation.service_layer.deliveries import (
    CommandEnvelope,
    Committed,
    Delivery,
    DeliveryPolicy,
    Failure,
    WorkItem,
)
from allocation.service_layer.envelopes import EventRecorder, MessageOrigin, bind_context
from allocation.service_layer.instrumentation import Instrumentation, Outcome, Status
from allocation.service_layer.ports import Outbox
from allocation.service_layer.registry import BoundHandler, Registry
from allocation.service_layer.unit_of_work import UnitOfWorkFactory

MAX_CONFLICT_RETRIES = 5  # runs of a handler whose data others changed, before it counts as failed
FINAL_WRITE_TIMEOUT = 2  # seconds to store what became of a cancelled delivery

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Makes attempts, and stores how they have failed."""

    registry: Registry
    new_uow: UnitOfWorkFactory
    outbox: Outbox
    policy: DeliveryPolicy
    event_recorder: EventRecorder
    random: Callable[[], float]
    instrumentation: Instrumentation

    async def hand_over_to_workers(self, claims: Collection[Delivery]) -> None:
        """Make claimed deliveries due for workers now, as if they had not been claimed."""
        for delivery in claims:
            self.instrumentation.finished(Outcome(delivery, "handed over"))
        try:
            if claims:
                await _persist_despite_cancellation(lambda: self.outbox.release(claims))
        except Exception as error:
            logger.warning("leases could not be given back, they end by themselves: %s", error)

    async def _attempt(self, delivery: Delivery) -> Committed | Failure | None:
        """Attempt one delivery; return what its handler has committed, or how it failed."""
        try:
            committed = await self._attempt_with_deadline(delivery)
        except exceptions.LeaseExpired as late:
            logger.warning("%s", late)
            await self.hand_over_to_workers([delivery])
            return Failure(delivery=delivery, error=late, retry_in=0.0)
        except exceptions.DeliverySuperseded as superseded:
            self._lease_lost(delivery, superseded)
            return None
        except Exception as error:
            return await self._record_failure(delivery, error)
        except get_cancelled_exc_class():
            await self.hand_over_to_workers([delivery])
            raise
        self.instrumentation.finished(Outcome(delivery, "succeeded", committed))
        return committed

    async def _attempt_with_deadline(self, delivery: Delivery) -> Committed:
        """Run the handler within the time limit, which counts from the begin of the lease."""
        handler = self.registry.events[delivery.handler]
        deadline = delivery.leased_at + self.policy.handler_timeout_seconds
        seconds = deadline - current_time()
        with self.instrumentation.attempt(delivery, seconds):
            if seconds <= 0:
                raise exceptions.LeaseExpired(handler.name)
            if handler.is_transactional:
                return await self._run_in_time(handler, deadline, self._commit(handler, delivery))
            answer = await self._run_in_time(handler, deadline, handler.run(delivery, None))
            if answer is not None:
                return await self._store_answer(answer, delivery, deadline)
            await _persist_despite_cancellation(lambda: self.outbox.settle(delivery))
            return Committed()

    async def _store_answer(
        self, answer: Command, delivery: Delivery, deadline: float
    ) -> Committed:
        """Execute the command that a handler has returned; its commit settles the delivery.

        If others change what it has read, only the command is repeated, not the external effect.
        """
        id_, origin = self.event_recorder.new_id(), MessageOrigin(source=delivery.handler)
        envelope = CommandEnvelope(id=id_, message=answer, origin=origin, settles=delivery)
        try:
            stored = await _persist_despite_cancellation(lambda: self._execute(envelope, deadline))
        except Exception as error:  # what the outside has answered is known nowhere else
            error.add_note(f"{delivery.handler} had returned {answer!r}")
            raise
        return replace(stored, answer=answer)

    async def _execute(self, envelope: CommandEnvelope, deadline: float) -> Committed:
        """Run the one handler of a command within its time limit."""
        handler, limit = self.registry.commands[type(envelope.message)], deadline - current_time()
        with bind_context(envelope.context):
            with self.instrumentation.command(envelope, limit):
                work = self._commit(handler, envelope)
                committed = await self._run_in_time(handler, deadline, work)
            logger.info("%s handled", envelope.name)
            self.instrumentation.finished(Outcome(envelope, "succeeded", committed))
        return committed

    async def _run_in_time(
        self, handler: BoundHandler, deadline: float, work: Coroutine[Any, Any, T]
    ) -> T:
        with CancelScope(deadline=deadline):
            return await work
        raise exceptions.HandlerTimeout(handler.name, self.policy.handler_timeout_seconds)

    async def _commit(self, handler: BoundHandler, work: WorkItem) -> Committed:
        """Run a handler in a fresh unit of work.

        Optimistic retry: it is run again while others change what it has read.
        """
        for tries in count(1):  # pragma: no branch
            try:
                async with (scope := self.new_uow(work)) as uow:
                    await handler.run(work, uow)
                break
            except exceptions.ConcurrentUpdate:
                if tries == MAX_CONFLICT_RETRIES:
                    raise
            self.instrumentation.finished(Outcome(work, "conflict"))
        return scope.committed

    async def _record_failure(self, delivery: Delivery, error: Exception) -> Failure | None:
        pause = self.policy.retry_delay(
            delivery.attempt,
            error,
            random=self.random,
            unavailable_attempts=delivery.unavailable_attempts,
        )
        failure = Failure(delivery=delivery, error=error, retry_in=pause)
        try:
            await _persist_despite_cancellation(lambda: self.outbox.record_failure(failure))
        except exceptions.DeliverySuperseded as superseded:
            self._lease_lost(delivery, f"{failure}; {superseded}")
            return None
        except Exception as storing_error:
            logger.error("the next failure could not be stored: %s", storing_error)
            # the row is as it was: it falls due when the lease ends
            failure = replace(failure, retry_in=self.policy.lease_seconds)
        later = self.event_recorder.now() + timedelta(seconds=failure.retry_in or 0)
        fate = "parked" if failure.retry_in is None else f"next attempt at {later:%FT%TZ}"
        logger.warning("%s; %s", failure, fate)
        status: Status = "parked" if failure.retry_in is None else "retried"
        self.instrumentation.finished(Outcome(delivery, status))
        return failure

    def _lease_lost(self, delivery: Delivery, reason: object) -> None:
        logger.info("%s", reason)
        self.instrumentation.finished(Outcome(delivery, "lease lost"))


async def _persist_despite_cancellation(store: Callable[[], Awaitable[T]]) -> T:
    """Store what became of a delivery; once more, but not for ever, if that is cancelled."""
    try:
        return await store()
    except get_cancelled_exc_class():
        with anyio.move_on_after(FINAL_WRITE_TIMEOUT, shield=True):
            await store()
        raise
