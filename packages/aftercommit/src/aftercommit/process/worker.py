"""The worker: runs deliveries that no other process runs, until it is asked to stop."""

import logging
from collections import Counter, deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf

from anyio import create_task_group, current_time, get_cancelled_exc_class, sleep
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from aftercommit.claims import Claim, LastWrite, Report
from aftercommit.deliveries.deferred_unblocking import mend_lanes, unblock_heads
from aftercommit.deliveries.schedule_rows import AGAIN_SECONDS, Schedules
from aftercommit.errors import ConcurrentUpdate, DeliveryLocked, TransientError, is_away
from aftercommit.handler_containment import cancellation_requested, contain, in_own_task
from aftercommit.limits import claimed_together
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown, Wakeup

BATCH_WINDOW = 0.01
POLL_SECONDS = 1.0  # how long deliveries of others may go unseen; also before a reconnect
LOOK_SECONDS = 0.05  # between two looks at a limit: more than one delivery may begin then
RACE_SECONDS = 0.01  # before the next look, if another process has claimed by the same limit
UNBLOCK_SECONDS = 60.0  # for which a lane may stand still that nobody else unblocks
WORKER_SETTINGS = {"dispatch": "worker"}  # the deliveries that its handlers cause are claimed, too

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ClaimedTogether:
    """Handlers for which one claim is made: those without a limit, or those that share one."""

    handlers: Sequence[str]
    is_limited: bool
    backlog_likely: bool = False
    quiet_until: float = -inf  # until when it is known that no delivery of a limit may begin
    races_lost: int = 0  # in a row


class Worker:
    """Runs up to `concurrency` deliveries at the same time, so that a slow one delays no other.

    With `only`, it runs those that are stored for a handler of one of these names.
    """

    def __init__(
        self,
        application: Application,
        shutdown: Shutdown,
        *,
        concurrency: int,
        only: Collection[str] = (),
    ) -> None:
        self._store, self._bus = application.bus.delivery_store, application.bus
        self._database = application.database
        known = application.bus.registry.events
        self._handlers = [name for name in known if name in only or not only]
        if unable := application.handlers.keys() - known.keys():
            text = "deliveries to %s wait for a process that has their ports: here they are None"
            logger.info(text, ", ".join(sorted(unable)))
        self._shutdown = shutdown
        self._schedules = Schedules(self._database, application.every, self._bus.envelopes)
        self._wakeup, self._unblocking, self._next_time = Wakeup(), Wakeup(), Wakeup()
        self.wake, self.unblock_lanes = self._wakeup.wake, self._unblocking.wake
        self._concurrency = concurrency
        self._running: Counter[str] = Counter()
        limits = self._store.limits
        groups = claimed_together(self._handlers, limits, most=self._store.most_handlers)
        self._groups = deque(ClaimedTogether(some, some[0] in limits) for some in groups)
        self._limited = {
            name: each for each in self._groups if each.is_limited for name in each.handlers
        }
        self._has_said_why = False
        self._other_keys = set[str]()
        self._unwritten: dict[tuple[tuple[str, int], ...], LastWrite] = {}  # of all its reports

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until asked to stop or, with `until_idle`, until nothing is left to do now.

        What remains are deliveries that are parked, paused, or scheduled.

        :raises HandlerInterrupted: if somebody has cancelled its tasks one by one
        """
        if not until_idle:
            text = "the worker %s has begun: %d handlers, up to %d deliveries at a time"
            logger.info(text, self._database.process, len(self._handlers), self._concurrency)
        try:
            async with create_task_group() as group:
                group.start_soon(self._wake_at_shutdown)
                group.start_soon(self._unblock_lanes)
                group.start_soon(self._keep_schedules)
                while not self._shutdown.is_set():
                    try:
                        async with self._database.listen(self._wake_to_claim):
                            await self._run_loop(group, until_idle=until_idle)
                    except Exception as error:  # no error of the database may end the worker
                        unexpected = not isinstance(error, (TransientError, ConcurrentUpdate))
                        logger.error("%s; the worker tries again", error, exc_info=unexpected)
                        await self._wakeup.sleep(POLL_SECONDS)
            if not self._shutdown.is_set():  # a task of its group was cancelled, and so the group
                raise get_cancelled_exc_class()
            while self._unwritten:  # as long as allowed: only here the effect is known to be done
                with suppress(TransientError, ConcurrentUpdate):
                    await self._make_last_writes()
                if self._unwritten:
                    await sleep(POLL_SECONDS)
        except BaseException as error:
            contain(error, "the worker", of_engine=True)
            raise

    def _wake_to_claim(self) -> None:
        """Claim without a look first: another process has announced a due delivery.

        Deliveries with a limit may still not begin, so for those a look comes first.
        """
        for each in self._groups:
            each.backlog_likely |= not each.is_limited
        self._wakeup.wake()

    async def _wake_at_shutdown(self) -> None:
        await self._shutdown.wait()
        self._wakeup.wake()
        self._unblocking.wake()
        self._next_time.wake()

    async def _unblock_lanes(self) -> None:
        look = mend_lanes  # later, only through an index
        while not self._shutdown.is_set():
            try:
                await look(self._database)
                look = unblock_heads
            except Exception as error:
                logger.warning("cannot find out which lanes wait for nothing: %s", error)
            await self._unblocking.sleep(UNBLOCK_SECONDS)

    async def _keep_schedules(self) -> None:
        while not self._shutdown.is_set():
            try:
                seconds, has_stored = await self._schedules.store_due()
                if has_stored:
                    self._wakeup.wake()
            except Exception as error:
                logger.warning("cannot find out which schedules are due: %s", error)
                seconds = AGAIN_SECONDS
            await self._next_time.sleep(seconds)

    async def _run_loop(self, group: TaskGroup, *, until_idle: bool) -> None:
        if until_idle:
            await mend_lanes(self._database)
            await self._schedules.store_due()
        while not self._shutdown.is_set():
            # before the look: running handlers may cause deliveries, and free lanes go on
            is_idle = not (self._running.total() or self._database.passed_lanes)
            seconds = await self._claim_and_start(group, scheduled=not until_idle)
            if seconds and until_idle and is_idle and not self._has_said_why:
                text = "waiting %.0f s for the next due delivery: a retry, a lease, or a limit"
                logger.info(text, seconds)
                self._has_said_why = True
            if seconds is None and until_idle and is_idle:
                self._shutdown.set()
                return
            await self._wakeup.sleep(
                POLL_SECONDS if seconds is None else min(seconds, POLL_SECONDS)
            )

    async def _claim_and_start(self, group: TaskGroup, *, scheduled: bool) -> float | None:
        """Start what free slots can take; return the seconds to sleep, None if nothing is due."""
        await self._await_capacity()
        await self._make_last_writes()
        self._groups.rotate()  # each in turn is the first to take free slots
        waits = [await self._start_some(each, group, scheduled=scheduled) for each in self._groups]
        return min((seconds for seconds in waits if seconds is not None), default=None)

    async def _start_some(
        self, some: ClaimedTogether, group: TaskGroup, *, scheduled: bool
    ) -> float | None:
        if some.is_limited and (rest := some.quiet_until - current_time()) > 0:
            return rest
        if looks := not some.backlog_likely:
            seconds = await self._store.seconds_until_due(some.handlers, scheduled=scheduled)
            if seconds is None or seconds > 0:
                some.races_lost, shortest = 0, LOOK_SECONDS if some.is_limited else 0.0
                some.quiet_until = current_time() + shortest if seconds else -inf
                return seconds and max(seconds, shortest)
        for delivery in (claimed := await self._claim(some)):
            if self._has_done(delivery):
                continue
            self._warn_of_another_key(delivery)
            self._running[delivery.handler] += 1
            group.start_soon(in_own_task, self._deliver, delivery)
        if claimed or not (looks or some.backlog_likely):
            some.races_lost = 0
            return 0
        if some.is_limited and not some.backlog_likely:
            some.races_lost += 1
            wait = RACE_SECONDS * 2.0 ** min(some.races_lost, 10) * (1 + self._bus.random()) / 2
            return min(wait, POLL_SECONDS)
        # a due delivery may be locked, or of a busy handler; or no slot is free
        return POLL_SECONDS

    def _warn_of_another_key(self, claim: Claim) -> None:
        """Warn once for a handler that its key, and so the lanes of its events, has changed."""
        handler, message = self._bus.registry.events[claim.handler].name, claim.message
        of_message = self._bus.envelopes.subscriptions.get(type(message), {}).get(handler)
        if not (claim.lane and of_message and of_message.lane) or handler in self._other_keys:
            return
        with suppress(Exception):  # of a key; which is not for an event of a version before
            lane = of_message.lane_of(message, claim.envelope.subject)
            if lane != claim.lane:
                self._other_keys.add(handler)
                text = (
                    "%s has deliveries in the lane %s, and is now ordered as %s: both run at once"
                )
                logger.warning(text, handler, claim.lane, lane)

    async def _await_capacity(self) -> None:
        """Wait a moment for half of the slots, together with all that become free meanwhile.

        To claim many at once costs little more than to claim one.
        """
        end, free = current_time() + BATCH_WINDOW, -1
        while self._free() < self._concurrency // 2 and (left := end - current_time()) > 0:
            await self._wakeup.sleep(left)
        while free < (free := self._free()):
            await checkpoint()

    def _free(self) -> int:
        return self._concurrency - self._running.total()

    async def _claim(self, some: ClaimedTogether) -> Sequence[Claim]:
        """Claim for these handlers while slots are free; then only for those of which none runs.

        So a handler whose mail server does not answer cannot take all slots: one is kept free for
        each of the others, or at most half of the slots.
        """
        free = self._free()
        idle = [name for name in self._handlers if not self._running[name]]
        limit, handlers = free - min(len(idle), self._concurrency // 2), some.handlers
        if limit <= 0:
            handlers = [name for name in idle if name in some.handlers]
            limit = min(1, free, len(handlers))
        claimed = await self._store.claim(limit, handlers) if limit else ()
        some.backlog_likely = len(claimed) == limit
        return claimed

    async def _make_last_writes(self) -> None:
        """Make last writes that failed within their leases; a claim would count these as lost.

        One that cannot be made now, such as that of a locked delivery, is left for the next time,
        and stops no other one.

        :raises Unavailable: if the database is unavailable, so that no claim can be made, either
        """
        for claims, late in [*self._unwritten.items()]:
            try:
                await late.write()
            except (TransientError, ConcurrentUpdate) as error:
                if is_away(error) and not isinstance(error, DeliveryLocked):
                    raise
                logger.info("the end of a claim is not stored yet: %s", error)
                continue
            except Exception as error:  # for example: another process has taken the delivery over
                logger.info("%s", error)
            self._unwritten.pop(claims, None)

    def _has_done(self, claim: Claim) -> bool:
        """Tell whether this worker had the claim before, and its handler has returned.

        While a claim waits in line, leases can end whose last writes wait, too. Their external
        effects are not repeated: the new claim completes the delivery.
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
            if limited := self._limited.get(claim.handler):  # now one more may begin
                limited.backlog_likely |= limited.quiet_until > -inf
                limited.quiet_until = -inf
            self._wakeup.wake()
