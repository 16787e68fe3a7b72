"""The worker: takes over the deliveries that nobody holds, until it is told to stop."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pkgutil import resolve_name

from anyio import current_time
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.running import Service, StopSignal, task_group
from allocation.rooms import ROOMS
from allocation.service_layer.delivery import Delivery

LINGER_SECONDS = 0.01
POLL_SECONDS = 1.0  # how long a delivery made due by another process may go unseen
RECONNECT_SECONDS = 1.0

logger = logging.getLogger(__name__)


def working(settings: Settings, *, until_idle: bool = False) -> Service:
    """Return the service; with `until_idle`, it ends when only parked deliveries are left."""

    async def work(application: Application, stop: StopSignal) -> None:
        worker = Worker(application, stop, concurrency=settings.concurrency)
        async with task_group() as group:
            for place in chain.from_iterable(room.beside_worker for room in ROOMS.values()):
                group.start_soon(resolve_name(place)(settings), application, stop)
            await worker.run(until_idle=until_idle)

    return work


class Worker:
    """Has up to `concurrency` deliveries in hand, so that a slow one holds up no other."""

    def __init__(self, application: Application, stop: StopSignal, *, concurrency: int) -> None:
        self._outbox, self._bus = application.outbox, application.bus
        self._database = application.database
        self._handlers = list(application.bus.registry.events)
        self._stop = stop
        self._concurrency = concurrency
        self._in_hand: Counter[str] = Counter()
        self._more_is_due = False  # it was when something was claimed last

    async def run(self, *, until_idle: bool = False) -> None:
        """Work until told to stop or, `until_idle`, until only parked deliveries are left."""
        async with task_group() as group:
            while not self._stop.is_set:
                try:
                    async with self._database.listening(self._stop.wake):
                        await self._begin_until_over(group, until_idle=until_idle)
                except Exception as error:  # nothing in the database may end the worker
                    unexpected = not isinstance(error, Unavailable)
                    logger.error("%s; the worker tries again", error, exc_info=unexpected)
                    await self._stop.sleep(RECONNECT_SECONDS)

    async def _begin_until_over(self, group: TaskGroup, *, until_idle: bool) -> None:
        while not self._stop.is_set:
            pause = await self._begin_what_is_due(group)
            if pause is None and until_idle and not self._in_hand.total():
                self._stop.set()  # which ends the next sleep, too
            await self._stop.sleep(POLL_SECONDS if pause is None else pause)

    async def _begin_what_is_due(self, group: TaskGroup) -> float | None:
        """Begin what free hands may take; return the seconds to sleep, None if nothing is owed."""
        await self._until_hands_are_free()
        if not self._more_is_due:
            pause = await self._outbox.seconds_until_due(self._handlers)
            if pause is None or pause > 0:
                return pause and min(pause, POLL_SECONDS)
        for delivery in (claimed := await self._claim()):
            self._in_hand[delivery.handler] += 1
            group.start_soon(self._deliver, delivery)
        return 0 if claimed else POLL_SECONDS  # what is due may be locked, or of a busy handler

    async def _until_hands_are_free(self) -> None:
        """Wait a moment for half of the hands, and all that get free with them.

        Many at once cost little more than one.
        """
        end, free = current_time() + LINGER_SECONDS, -1
        while self._free() < self._concurrency // 2 and (left := end - current_time()) > 0:
            await self._stop.sleep(left)
        while free < (free := self._free()):
            await checkpoint()

    def _free(self) -> int:
        return self._concurrency - self._in_hand.total()

    async def _claim(self) -> Sequence[Delivery]:
        """Claim for all handlers while there is room; then only for those with nothing in hand.

        So one handler, whose mail server says nothing, cannot have all hands: one is kept free for
        each of the others, or half of them where there are fewer.
        """
        free = self._free()
        idle = [name for name in self._handlers if not self._in_hand[name]]
        room, handlers = free - min(len(idle), self._concurrency // 2), self._handlers
        if room <= 0:
            room, handlers = min(1, free, len(idle)), idle
        claimed = await self._outbox.claim(room, handlers) if room else ()
        self._more_is_due = len(claimed) == room
        return claimed

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._bus.deliver([delivery])
        finally:
            self._in_hand[delivery.handler] -= 1
            self._stop.wake()
