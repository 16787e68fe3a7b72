"""The message bus: takes a command to its handler, and fans events out to their handlers.

Source: *Architecture Patterns with Python*, chapters 8 to 10. Different from the book: handlers of
events run concurrently, each in a unit of work of its own, and a failure is stored, not swallowed.
The bus keeps no state of a message, so one bus serves any number of concurrent tasks.
"""

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

from anyio import CancelScope, Semaphore, create_task_group, get_cancelled_exc_class
from anyio.abc import TaskGroup

from aftercommit.attempt import Executor
from aftercommit.claims import Claim, Committed, Failure, Report
from aftercommit.envelopes import INTERNAL, MessageOrigin, current_context
from aftercommit.errors import LeaseExpired
from aftercommit.handler_containment import in_own_task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBus(Executor):
    """Handles commands and events. Each running handler takes a slot; what it causes does not.

    >>> import anyio, uuid
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         return await application.bus.handle(order)
    >>> report = anyio.run(main)
    >>> [envelope.type for envelope in report.events], report.failures
    (['order_placed'], [])
    """

    slots: Semaphore  # and the parts of an `Executor`, which handles one message

    def __post_init__(self) -> None:
        self.registry.ensure_known_to(self.delivery_store)

    async def handle(self, command: object, origin: MessageOrigin = INTERNAL) -> Report:
        """Execute a command, then dispatch the events it caused; return when all handlers are done.

        :raises Exception: as `execute`; a failing event handler raises nothing
        """
        committed = await self.execute(command, origin)
        report = await self.run(committed.claims)
        report.events[:0] = committed.events
        return report

    async def execute(self, command: object, origin: MessageOrigin = INTERNAL) -> Committed:
        """Run the one handler of a command, and return what it committed, or raise its error.

        Its events are stored with their deliveries, so nothing is lost if they are not dispatched
        here. The command is stored, too: if it has an id, it is recognized when it arrives again.

        :raises NotBegun: if it waits for its transaction as long as a handler may take
        :raises HandlerTimeout: if it takes longer than a handler may; then nothing is stored
        """
        return await self._execute(self.envelopes.of_command(command, origin))

    async def run(self, claims: Collection[Claim], report: Report | None = None) -> Report:
        """Run the handlers of deliveries on which this process has claims.

        They run concurrently, in no particular order. What they commit is dispatched in the same
        way, and this returns when the whole tree has been handled. A failing handler does not
        affect another: its failure is stored, and added to the report, which may be one that a
        caller has begun. A cancellation loses nothing.
        """
        report = report or Report()
        if several := await self._run_in_a_row(claims, report):
            async with create_task_group() as group:
                await self._start_all(several, report, group)
        return report

    async def _start_all(self, claims: Collection[Claim], report: Report, group: TaskGroup) -> None:
        """Run each claim, and what it causes, in a task as slots get free."""
        waiting = deque(claims)
        while waiting and await self._take_slot(waiting, report):
            group.start_soon(in_own_task, self._run_in_a_row, [waiting.popleft()], report, group)

    async def _run_in_a_row(
        self, claims: Collection[Claim], report: Report, group: TaskGroup | None = None
    ) -> Collection[Claim]:
        """Run a claim, then the claim it causes, as long as it is only one: no new task is needed.

        Several are started in the group, in which the first has its slot, or else returned.
        """
        has_slot = group is not None
        while len(claims) == 1:
            if not has_slot and not await self._take_slot(deque(claims), report):
                return ()
            [claim] = claims
            how = self.envelopes.subscriptions.get(type(claim.message), {}).get(claim.handler)
            if how and how.begins_chain:
                claim = replace(claim, begins_chain=True)
            token = current_context.set(claim.context)
            try:
                claims = await self.attempt(claim, report)
            finally:
                current_context.reset(token)
                self.slots.release()
            has_slot = False
        if group and claims:
            await self._start_all(claims, report, group)
        return claims

    async def _take_slot(self, waiting: deque[Claim], report: Report) -> bool:
        """Wait for a slot while a handler can still begin in time; else leave all to workers."""
        if self.slots.value:
            self.slots.acquire_nowait()
            return True
        try:
            with CancelScope(deadline=waiting[0].leased_at + self.policy.begin_seconds):
                await self.slots.acquire()
                return True
        except get_cancelled_exc_class():
            await self.release(waiting, report)
            raise
        logger.warning("%s handlers could not begin in time and are left to workers", len(waiting))
        expired = [(each, LeaseExpired(each.handler, each.envelope.id)) for each in waiting]
        report.failures += [Failure(delivery=d, error=e, retry_in=0.0) for d, e in expired]
        await self.release(waiting, report)
        return False
