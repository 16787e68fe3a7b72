"""The worker: takes over the deliveries that nobody holds, until it is told to stop."""

import logging

from anyio.abc import TaskGroup

from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.running import task_group
from allocation.entrypoints.serving import Service, Shift
from allocation.service_layer.delivery import Delivery

POLL_SECONDS = 1.0  # how long a delivery made due by another process may go unseen
RECONNECT_SECONDS = 1.0

logger = logging.getLogger(__name__)


def working(settings: Settings, *, until_idle: bool = False) -> Service:
    """Return the service; with `until_idle`, it ends when only parked deliveries are left."""

    async def work(application: Application, shift: Shift) -> None:
        worker = Worker(application, shift, concurrency=settings.concurrency)
        await worker.run(until_idle=until_idle)

    return work


class Worker:
    """Has up to `concurrency` deliveries in hand, so that a slow one holds up no other."""

    def __init__(self, application: Application, shift: Shift, *, concurrency: int) -> None:
        self._application = application
        self._shift = shift
        self._concurrency = concurrency
        self._in_hand = 0

    async def run(self, *, until_idle: bool) -> None:
        """Work until the shift is over, and then until what is in hand is done.

        With `until_idle`, end the shift when only parked deliveries are left.
        """
        database, shift = self._application.database, self._shift
        async with task_group() as group:
            while not shift.is_over:
                try:
                    async with database.listening(shift.wake):
                        await self._begin_until_over(group, until_idle=until_idle)
                except Exception as error:  # nothing in the database may end the worker
                    unexpected = not isinstance(error, Unavailable)
                    logger.error("%s; the worker tries again", error, exc_info=unexpected)
                    await shift.sleep(RECONNECT_SECONDS)

    async def _begin_until_over(self, group: TaskGroup, *, until_idle: bool) -> None:
        while not self._shift.is_over:
            pause = await self._begin_what_is_due(group)
            if pause is None and until_idle and not self._in_hand:
                self._shift.end()
            else:
                await self._shift.sleep(POLL_SECONDS if pause is None else pause)

    async def _begin_what_is_due(self, group: TaskGroup) -> float | None:
        """Claim as much as hands are free; return the seconds to sleep, None if nothing is owed."""
        free = self._concurrency - self._in_hand
        if not free:
            return POLL_SECONDS
        pause = await self._application.outbox.seconds_until_due()
        if pause is None or pause > 0:
            return pause and min(pause, POLL_SECONDS)
        for delivery in await self._application.outbox.claim(free):
            self._in_hand += 1
            group.start_soon(self._deliver, delivery)
        return 0

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._application.bus.deliver([delivery])
        finally:
            self._in_hand -= 1
            self._shift.wake()
