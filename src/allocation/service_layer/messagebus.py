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
from anyio.abc import TaskGroup

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
    """The deliveries that run for one caller, with those they cause, and what came out of them."""

    group: TaskGroup
    events: list[Envelope] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBus(Attempts):
    """Handles commands and events; each slot is for one handler that runs."""

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
        if not claims:
            return DispatchResult()
        async with anyio.create_task_group() as group:
            tree = _Tree(group)
            await self._start(claims, tree)
        return DispatchResult(tuple(tree.events), tuple(tree.failures))

    async def _start(self, claims: Collection[Delivery], tree: _Tree) -> None:
        """Start a task for each, as slots get free; a slot is held for the handler, not its tree.

        What has not begun when half of its time has passed is handed over to workers.
        """
        known = self.registry.events
        waiting = deque(claim for claim in claims if claim.handler in known)
        if elsewhere := [claim for claim in claims if claim.handler not in known]:
            await self.hand_over_to_workers(elsewhere)  # a port is not configured here
        limit = self.policy.handler_timeout_seconds
        half_time = min(claim.leased_at for claim in claims) + limit / 2
        try:
            with CancelScope(deadline=half_time):
                while waiting:
                    if self.slots.value:
                        self.slots.acquire_nowait()
                    else:
                        await self.slots.acquire()
                    tree.group.start_soon(self._run_one, waiting.popleft(), tree)
        except get_cancelled_exc_class():
            await self.hand_over_to_workers(waiting)
            raise
        if waiting:
            logger.warning("%s handlers could not begin in time: left to workers", len(waiting))
            tree.failures += map(_too_late, waiting)
            await self.hand_over_to_workers(waiting)

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
                if claims:
                    await self._start(claims, tree)


def _too_late(delivery: Delivery) -> Failure:
    error = exceptions.LeaseExpired(delivery.handler)
    return Failure(delivery=delivery, error=error, retry_in=0.0)
