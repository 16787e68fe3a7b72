"""The message bus: takes a command to its handler, and fans events out to all of theirs.

Source: *Architecture Patterns with Python*, chapters 8 to 10. Different from the book: handlers of
events run concurrently, each in a unit of work of its own, and a failure is stored, not swallowed.

The bus holds no state of any message, so one bus serves any number of tasks at once.
"""

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import anyio
from anyio import CancelScope, Semaphore, current_time, get_cancelled_exc_class

from allocation.domain.commands import Command
from allocation.service_layer import exceptions
from allocation.service_layer.attempts import Attempts
from allocation.service_layer.deliveries import (
    CommandEnvelope,
    Committed,
    Delivery,
    DispatchResult,
    Failure,
)
from allocation.service_layer.envelopes import INTERNAL, Envelope, MessageOrigin, bind_context

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Tree:
    """What came out of the deliveries that ran for one caller, and of those they have caused."""

    events: list[Envelope] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBus(Attempts):
    """Handles commands and events; a slot is for one handler that runs, not for what it causes."""

    slots: Semaphore

    async def handle(self, command: Command, origin: MessageOrigin = INTERNAL) -> DispatchResult:
        """Execute a command, then dispatch what it caused; return when all of it is settled.

        :raises AllocationError: as `execute`; a failing event handler raises nothing
        """
        committed = await self.execute(command, origin)
        caused = await self.dispatch(committed)
        return replace(caused, events=committed.events + caused.events)

    async def execute(self, command: Command, origin: MessageOrigin = INTERNAL) -> Committed:
        """Run the one handler of a command, and return what it committed, or raise its error.

        The events are stored with their deliveries, so nothing is lost if they are not dispatched
        here; and so is the command: one that came with an id is recognized when it comes again.

        :raises HandlerTimeout: if it takes longer than a handler may; then nothing is stored
        """
        envelope = CommandEnvelope(id=self.event_recorder.new_id(), message=command, origin=origin)
        return await self._execute(envelope, current_time() + self.policy.handler_timeout_seconds)

    async def dispatch(self, committed: Committed) -> DispatchResult:
        """Run all handlers of what was just committed, as far as this process has claims on them.

        They run concurrently, in no particular order; what they commit is dispatched in the same
        way; this returns when the whole tree is settled. A failing handler neither stops nor fails
        another: its failure is stored and in the result. Cancellation loses nothing either.
        """
        return await self.run_deliveries(committed.claims)

    async def run_deliveries(self, claims: Collection[Delivery]) -> DispatchResult:
        """Run the handlers of claimed deliveries, under the promises of `dispatch`."""
        tree = _Tree()
        await self._run_all(claims, tree)
        return DispatchResult(tuple(tree.events), tuple(tree.failures))

    async def _run_all(self, claims: Collection[Delivery], tree: _Tree) -> None:
        """Run each in a task, as slots get free; one alone needs no task of its own."""
        known = self.registry.events
        waiting = deque(claim for claim in claims if claim.handler in known)
        if elsewhere := [claim for claim in claims if claim.handler not in known]:
            await self.hand_over_to_workers(elsewhere)  # a port is not configured here
        if len(waiting) == 1:
            if only := await self._next(waiting, tree):
                await self._run_one(only, tree)
        elif waiting:
            async with anyio.create_task_group() as group:
                while following := await self._next(waiting, tree):
                    group.start_soon(self._run_one, following, tree)

    async def _next(self, waiting: deque[Delivery], tree: _Tree) -> Delivery | None:
        """Wait for a slot; when half of the time has passed, hand what waits over to workers."""
        if not waiting:
            return None
        if self.slots.value:
            self.slots.acquire_nowait()
            return waiting.popleft()
        half_time = waiting[0].leased_at + self.policy.handler_timeout_seconds / 2
        try:
            with CancelScope(deadline=half_time):
                await self.slots.acquire()
                return waiting.popleft()
        except get_cancelled_exc_class():
            await self.hand_over_to_workers(waiting)
            raise
        logger.warning("%s handlers could not begin in time: left to workers", len(waiting))
        late = [(each, exceptions.LeaseExpired(each.handler)) for each in waiting]
        tree.failures += [Failure(delivery=d, error=error, retry_in=0.0) for d, error in late]
        await self.hand_over_to_workers(waiting)
        return None

    async def _run_one(self, delivery: Delivery, tree: _Tree) -> None:
        with bind_context(delivery.context):
            try:
                result = await self._attempt(delivery)
            finally:
                self.slots.release()
        match result:
            case Failure():
                tree.failures.append(result)
            case Committed(events, claims):
                tree.events += events
                await self._run_all(claims, tree)
