"""The worker: takes over the deliveries that nobody holds, until it is asked to stop."""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from anyio import create_task_group, current_time, get_cancelled_exc_class, sleep
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from aftercommit.claims import Claim, LastWrite, Report
from aftercommit.errors import ConcurrentUpdate, TransientError
from aftercommit.handler_containment import cancellation_requested, contain, in_own_task
from aftercommit.process.application import Application
from aftercommit.process.running_services import Service, Shutdown, Wakeup
from aftercommit.settings import EngineSettings
from aftercommit.sql.deferred_unblocking import mend_lanes, unblock_heads
from aftercommit.sql.exceptions import DeliveryLocked

BATCH_WINDOW = 0.01
POLL_SECONDS = 1.0  # how long what others make due may go unseen; also before a reconnect
UNBLOCK_SECONDS = 60.0  # how long a lane may stand still that nobody has to unblock
WORKER_SETTINGS = {"dispatch": "worker"}  # what its deliveries cause is claimed, too

logger = logging.getLogger(__name__)


def worker_service(settings: EngineSettings, *, until_idle: bool = False) -> Service:
    """Return the service; with `until_idle`, see `Worker.run`."""

    async def work(application: Application, shutdown: Shutdown) -> None:
        worker = Worker(application, shutdown, concurrency=settings.worker_concurrency)
        await worker.run(until_idle=until_idle)

    return work


class Worker:
    """Runs up to `concurrency` deliveries at a time, so that a slow one holds up no other."""

    def __init__(self, application: Application, shutdown: Shutdown, *, concurrency: int) -> None:
        self._store, self._bus = application.bus.delivery_store, application.bus
        self._database = application.database
        self._handlers = list(application.bus.registry.events)
        if unable := application.handlers.keys() - application.bus.registry.events.keys():
            text = "deliveries to %s wait for a process that has their ports: here they are None"
            logger.info(text, ", ".join(sorted(unable)))
        self._shutdown = shutdown
        self._wakeup, self._unblocking = Wakeup(), Wakeup()
        self.wake, self.unblock_lanes = self._wakeup.wake, self._unblocking.wake
        self._concurrency = concurrency
        self._running: Counter[str] = Counter()
        self._backlog_likely, self._has_said_why = False, False
        self._other_keys = set[str]()
        self._unwritten: dict[tuple[tuple[str, int], ...], LastWrite] = {}  # of all its reports

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until asked to stop or, `until_idle`, until nothing is left to do now.

        Left are deliveries that are parked, paused, or scheduled and not attempted yet.

        :raises HandlerInterrupted: if somebody has cancelled its tasks one by one
        """
        if not until_idle:
            text = "the worker %s has begun: %d handlers, up to %d deliveries at a time"
            process, count = self._database.process, len(self._handlers)
            logger.info(text, process, count, self._concurrency)
        try:
            async with create_task_group() as group:
                group.start_soon(self._wake_at_shutdown)
                group.start_soon(self._unblock_lanes)
                while not self._shutdown.is_set():
                    try:
                        async with self._database.listen(self._wake_to_claim):
                            await self._run_loop(group, until_idle=until_idle)
                    except Exception as error:  # nothing in the database may end the worker
                        unexpected = not isinstance(error, (TransientError, ConcurrentUpdate))
                        logger.error("%s; the worker tries again", error, exc_info=unexpected)
                        await self._wakeup.sleep(POLL_SECONDS)
            if not self._shutdown.is_set():  # a task of its group was cancelled, and so the group
                raise get_cancelled_exc_class()
            while self._unwritten:  # as long as it is let: an effect that is out is known only here
                with suppress(TransientError, ConcurrentUpdate):
                    await self._make_last_writes()
                    continue
                await sleep(POLL_SECONDS)
        except BaseException as error:
            contain(error, "the worker", of_engine=True)
            raise

    def _wake_to_claim(self) -> None:
        """Claim without a look before it: another process says that something is due."""
        self._backlog_likely = True
        self._wakeup.wake()

    async def _wake_at_shutdown(self) -> None:
        await self._shutdown.wait()
        self._wakeup.wake()
        self._unblocking.wake()

    async def _unblock_lanes(self) -> None:
        look = mend_lanes  # later, only for what is found by an index
        while not self._shutdown.is_set():
            try:
                await look(self._database)
                look = unblock_heads
            except Exception as error:
                logger.warning("it is not known which lanes wait for nothing: %s", error)
            await self._unblocking.sleep(UNBLOCK_SECONDS)

    async def _run_loop(self, group: TaskGroup, *, until_idle: bool) -> None:
        if until_idle:
            await mend_lanes(self._database)
        while not self._shutdown.is_set():
            # before it looks: what runs may cause something, and a lane goes on when it is free
            is_idle = not (self._running.total() or self._database.passed_lanes)
            seconds = await self._claim_and_start(group, scheduled=not until_idle)
            if seconds and until_idle and is_idle and not self._has_said_why:
                text = "waiting for what is due next, in %.0f s: a retry, or a lease that ends"
                logger.info(text, seconds)
                self._has_said_why = True
            if seconds is None and until_idle and is_idle:
                self._shutdown.set()
                return
            await self._wakeup.sleep(
                POLL_SECONDS if seconds is None else min(seconds, POLL_SECONDS)
            )

    async def _claim_and_start(self, group: TaskGroup, *, scheduled: bool) -> float | None:
        """Start what free slots may take; return the seconds to sleep, None if nothing is due."""
        await self._await_capacity()
        await self._make_last_writes()
        if looks := not self._backlog_likely:
            seconds = await self._store.seconds_until_due(self._handlers, scheduled=scheduled)
            if seconds is None or seconds > 0:
                return seconds
        for delivery in (claimed := await self._claim()):
            if self._has_done(delivery):
                continue
            self._warn_of_another_key(delivery)
            self._running[delivery.handler] += 1
            group.start_soon(in_own_task, self._deliver, delivery)
        # what was seen to be due may be locked, or of a busy handler; or no slot is free
        waits = not claimed and (looks or self._backlog_likely)
        return POLL_SECONDS if waits else 0

    def _warn_of_another_key(self, claim: Claim) -> None:
        """Say once of a handler that its key has changed, and so the lanes of its events."""
        handler, message = self._bus.registry.events[claim.handler].name, claim.message
        of_message = self._bus.envelopes.subscriptions.get(type(message), {}).get(handler)
        if not (claim.lane and of_message and of_message.lane) or handler in self._other_keys:
            return
        with suppress(Exception):  # of a key; which is not for an event of a version before
            lane = of_message.lane_of(message, claim.envelope.subject)
            if lane != claim.lane:
                self._other_keys.add(handler)
                text = (
                    "%s has work in the lane %s that is now ordered as %s: not one after the other"
                )
                logger.warning(text, handler, claim.lane, lane)

    async def _await_capacity(self) -> None:
        """Wait a moment for half of the slots, and all that become free with them.

        Many at once cost little more than one.
        """
        end, free = current_time() + BATCH_WINDOW, -1
        while self._free() < self._concurrency // 2 and (left := end - current_time()) > 0:
            await self._wakeup.sleep(left)
        while free < (free := self._free()):
            await checkpoint()

    def _free(self) -> int:
        return self._concurrency - self._running.total()

    async def _claim(self) -> Sequence[Claim]:
        """Claim for all handlers while there is room; then only for those of which none runs.

        So one handler, whose mail server is silent, cannot have all slots: one is kept free for
        each of the others, or half of them where there are fewer.
        """
        free = self._free()
        idle = [name for name in self._handlers if not self._running[name]]
        limit, handlers = free - min(len(idle), self._concurrency // 2), self._handlers
        if limit <= 0:
            limit, handlers = min(1, free, len(idle)), idle
        claimed = await self._store.claim(limit, handlers) if limit else ()
        self._backlog_likely = len(claimed) == limit
        return claimed

    async def _make_last_writes(self) -> None:
        """Make those that were not possible in their leases, which a claim would count as lost.

        What somebody has locked is left for the next time: no claim can take that, either.
        """
        for claims, late in [*self._unwritten.items()]:
            try:
                await late.write()
            except DeliveryLocked:
                continue
            except (TransientError, ConcurrentUpdate):
                raise
            except Exception as error:  # such as: another process has taken the delivery over
                logger.info("%s", error)
            self._unwritten.pop(claims, None)

    def _has_done(self, claim: Claim) -> bool:
        """Tell whether the claim before this one was the worker's, and its handler has returned.

        While a claim waits in line, leases can end whose last writes wait, too. An effect that is
        out is not repeated then: the new claim completes the delivery.
        """
        key = claim.idempotency_key
        before = self._unwritten.pop(((key, claim.token - 1),), None)
        if not (before and before.completes):
            return False
        complete = partial(self._store.complete, claim, follow=False)
        self._unwritten[((key, claim.token),)] = LastWrite(complete, completes=True)
        return True

    async def _deliver(self, claim: Claim) -> None:
        try:
            await self._bus.run([claim], Report(unwritten=self._unwritten))
        except (GeneratorExit, get_cancelled_exc_class()) as error:
            if cancellation_requested(error):
                raise
            logger.error("%s has ended its own task: %r", claim.handler, error)
        finally:
            self._running[claim.handler] -= 1
            self._wakeup.wake()
