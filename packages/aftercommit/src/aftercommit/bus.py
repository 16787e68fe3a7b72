"""The message bus: takes a command to its handler, and fans events out to all of theirs.

Source: *Architecture Patterns with Python*, chapters 8 to 10. Different from the book: handlers of
events run concurrently, each in a unit of work of its own, and a failure is stored, not swallowed.
The bus holds no state of any message, so one bus serves any number of tasks at once.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from anyio import CancelScope, Semaphore, create_task_group, get_cancelled_exc_class, sleep
from anyio.abc import TaskGroup

from aftercommit import errors
from aftercommit.claims import Claim, CommandWork, Committed, DeliveryPolicy, Failure, Report
from aftercommit.envelope_factory import EnvelopeFactory
from aftercommit.envelopes import INTERNAL, MessageOrigin, bind_context
from aftercommit.handler_binding import BoundHandler, BoundHandlers
from aftercommit.handler_limits import TimeLimit, in_own_task
from aftercommit.last_writes import LastWrites, persist_despite_cancellation
from aftercommit.observers import CompositeObserver, Outcome
from aftercommit.ports import Outbox
from aftercommit.unit_of_work import UnitOfWorkFactory

CONFLICT_PAUSE = 0.02  # seconds, at most, before a handler runs again whose data others changed
LONGEST_CONFLICT_PAUSE = 1.0  # after more conflicts
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageBus:
    """Handles commands and events; a slot is for one handler that runs, not for what it causes.

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

    registry: BoundHandlers
    new_uow: UnitOfWorkFactory
    outbox: Outbox
    policy: DeliveryPolicy
    slots: Semaphore
    envelopes: EnvelopeFactory
    random: Callable[[], float]
    instrumentation: CompositeObserver

    async def handle(self, command: object, origin: MessageOrigin = INTERNAL) -> Report:
        """Execute a command, then dispatch what it caused; return when all of it is settled.

        :raises Exception: as `execute`; a failing event handler raises nothing
        """
        committed = await self.execute(command, origin)
        (result := await self.run(committed.claims)).events[:0] = committed.events
        return result

    async def execute(self, command: object, origin: MessageOrigin = INTERNAL) -> Committed:
        """Run the one handler of a command, and return what it committed, or raise its error.

        The events are stored with their deliveries, so nothing is lost if they are not dispatched
        here; and so is the command: one that came with an id is recognized when it comes again.

        :raises NotBegun: if it waits for its transaction as long as a handler may take
        :raises HandlerTimeout: if it takes longer than a handler may; then nothing is stored
        """
        return await self._execute(self.envelopes.of_command(command, origin))

    async def run(self, claims: Collection[Claim]) -> Report:
        """Run the handlers of deliveries on which this process has claims.

        They run concurrently, in no particular order; what they commit is dispatched in the same
        way; this returns when the whole tree is settled. A failing handler neither stops nor fails
        another: its failure is stored and in the result. Cancellation loses nothing either.
        """
        if following := await self._run_in_a_row(claims, result := Report()):
            async with create_task_group() as group:
                await self._start_all(following, result, group)
        return result

    async def release(
        self, claims: Collection[Claim], result: Report | None = None, *, interrupted: bool = False
    ) -> None:
        """Make claimed deliveries due for workers now, as if they had not been claimed."""
        await self._last_writes.release(claims, result or Report(), interrupted=interrupted)

    @property
    def _last_writes(self) -> LastWrites:
        return LastWrites(self.outbox, self.policy, self.random, self.instrumentation)

    async def _start_all(self, claims: Collection[Claim], result: Report, group: TaskGroup) -> None:
        """Run each in a task, as slots get free; one alone, or in a row, needs none of its own."""
        waiting = deque(claims)
        while waiting and (following := await self._next(waiting, result)):
            group.start_soon(in_own_task, self._run_in_task, following, result, group)

    async def _run_in_task(self, delivery: Claim, result: Report, group: TaskGroup) -> None:
        following = await self._run_one(delivery, result)
        await self._start_all(await self._run_in_a_row(following, result), result, group)

    async def _run_in_a_row(self, claims: Collection[Claim], result: Report) -> Collection[Claim]:
        while len(claims) == 1:
            delivery = await self._next(deque(claims), result)
            claims = await self._run_one(delivery, result) if delivery else ()
        return claims

    async def _next(self, waiting: deque[Claim], result: Report) -> Claim | None:
        """Wait for a slot; what has no time left to begin is handed over to workers."""
        if self.slots.value:
            self.slots.acquire_nowait()
            return waiting.popleft()
        try:
            with CancelScope(deadline=waiting[0].leased_at + self.policy.begin_seconds):
                await self.slots.acquire()
                return waiting.popleft()
        except get_cancelled_exc_class():
            await self.release(waiting, result)
            raise
        logger.warning("%s handlers could not begin in time: left to workers", len(waiting))
        expired = [(each, errors.LeaseExpired(each.handler)) for each in waiting]
        result.failures += [Failure(delivery=d, error=e, retry_in=0.0) for d, e in expired]
        await self.release(waiting, result)
        return None

    async def _run_one(self, delivery: Claim, result: Report) -> Collection[Claim]:
        with bind_context(delivery.context):
            try:
                if delivery.handler not in self.registry.events:  # a port is not configured here
                    await self.release([delivery], result)
                    return ()
                committed = await self._attempt(delivery, result)
            finally:
                self.slots.release()
        result.events += committed.events
        return committed.claims

    async def _attempt(self, delivery: Claim, result: Report) -> Committed:
        """Attempt one delivery; return what its handler has committed, if it has not failed."""
        handler = self.registry.events[delivery.handler]
        limit = TimeLimit.of_attempt(delivery, self.policy, handler.is_transactional)
        try:
            with self.instrumentation.operation(lambda o: o.attempt(delivery, limit.seconds_left)):
                if handler.is_transactional:
                    committed = await limit.keep(self._commit(handler, delivery, limit))
                else:
                    committed = await self._have_effect(handler, delivery, limit, result)
            self.instrumentation.finished(Outcome(delivery, "succeeded", committed, handler.name))
            return committed
        except errors.HandlerPaused:
            await self.release([delivery], result)
        except errors.LeaseExpired as late:
            logger.warning("%s", late)
            result.failures.append(Failure(delivery=delivery, error=late, retry_in=0.0))
            await self.release([delivery], result)
        except errors.DeliverySuperseded as superseded:
            self._last_writes.lease_lost(delivery, superseded)
        except Exception as error:
            await self._last_writes.record_failure(delivery, error, result)
        except get_cancelled_exc_class():
            if not limit.has_returned:  # what has had its effect is not to be repeated at once
                perhaps = limit.has_begun and not handler.is_transactional
                await self.release([delivery], result, interrupted=perhaps)
            raise
        return Committed()

    async def _have_effect(
        self, handler: BoundHandler, delivery: Claim, limit: TimeLimit, result: Report
    ) -> Committed:
        """Run a handler that has no transaction, and store that it is done."""
        await self.outbox.ensure_not_paused(delivery)
        limit.begin()
        answer = await limit.keep(handler.run(delivery, None))
        limit.has_returned = True
        if answer is not None:
            return await self._store_answer(answer, delivery)
        return Committed(claims=tuple(await self._last_writes.settle(delivery, result)))

    async def _store_answer(self, answer: object, delivery: Claim) -> Committed:
        """Execute the command that a handler has returned; its commit settles the delivery.

        If others change what it has read, only the command is repeated until the lease ends, and
        not the external effect.
        """
        origin = MessageOrigin(source=delivery.handler)
        envelope = self.envelopes.of_command(answer, origin, delivery)
        end, execute = self.policy.lease_end(delivery), partial(self._execute, envelope)
        try:
            stored = await persist_despite_cancellation(execute, lease_end=end)
        except Exception as error:  # what the outside has answered is known nowhere else
            error.add_note(f"{delivery.handler} had returned {answer!r}")
            raise
        return replace(stored, answer=answer)

    async def _execute(self, envelope: CommandWork) -> Committed:
        """Run the one handler of a command within its limits."""
        handler = self.registry.commands[type(envelope.message)]
        limit = TimeLimit.of_command(envelope, self.policy, handler.name)
        with bind_context(envelope.context):
            with self.instrumentation.operation(lambda o: o.command(envelope, limit.seconds_left)):
                committed = await limit.keep(self._commit(handler, envelope, limit))
            logger.info("%s handled", envelope.name)
            self.instrumentation.finished(Outcome(envelope, "succeeded", committed))
        return committed

    async def _commit(
        self, handler: BoundHandler, work: Claim | CommandWork, limit: TimeLimit
    ) -> Committed:
        """Run a handler in a fresh unit of work, and again while others change what it has read.

        Between two runs it has no transaction, so others can finish theirs. The pause doubles up to
        a longest, and all of it is drawn at random, so that those who met do not meet again ("full
        jitter", AWS Architecture Blog, *Exponential Backoff And Jitter*).

        :raises ConcurrentUpdate: if the time limit leaves no time for another pause
        """
        longest = CONFLICT_PAUSE
        while True:
            limit.wait()
            try:
                async with self.new_uow(work) as scope:
                    if isinstance(work, Claim):
                        await self.outbox.ensure_not_paused(work)
                    limit.begin()
                    await handler.run(work, scope.uow)
                    return await scope.commit(self.envelopes)
            except errors.ConcurrentUpdate:
                pause = longest * self.random()
                if not limit.allows(pause):
                    raise
            self.instrumentation.finished(Outcome(work, "conflict"))
            await sleep(pause)
            longest = min(2 * longest, LONGEST_CONFLICT_PAUSE)
