"""The worker: takes over the deliveries that nobody holds, until it is told to stop."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import CancelScope, move_on_after
from anyio.abc import TaskGroup, TaskStatus

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.running import check_backend, task_group
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.messagebus import Observer

POLL_SECONDS = 1.0  # how long a delivery made due by another process may go unseen
RECONNECT_SECONDS = 1.0

logger = logging.getLogger(__name__)


def run_worker(settings: Settings, *, observer: Observer, until_idle: bool) -> None:
    """Work until SIGTERM or SIGINT, or, with `until_idle`, until only parked deliveries are left.

    On the first signal nothing more is claimed, and what is in hand has the grace period to finish;
    the rest is given back. A second signal ends the process at once; leases then end by themselves.

    :raises Unavailable: if the database cannot be used at start; later the worker waits for it
    """

    async def main() -> None:
        shift = Shift()
        async with (
            _ended_by_signals(shift, settings.grace_seconds),
            bootstrap(settings, observer=observer) as application,
        ):
            await Worker(application, shift, settings.concurrency).run(until_idle=until_idle)

    check_backend(settings.backend)
    anyio.run(main, backend=settings.backend)


class Shift:
    """When a worker sleeps, wakes and stops. A call that comes while it works is remembered."""

    def __init__(self) -> None:
        self.is_over = False
        self._called = anyio.Event()

    def wake(self) -> None:
        """End the present or the next sleep."""
        self._called.set()

    def end(self) -> None:
        """Let nothing more be begun."""
        self.is_over = True
        self.wake()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds, or when called."""
        with move_on_after(seconds):
            await self._called.wait()
        self._called = anyio.Event()


class Worker:
    """Has up to `concurrency` deliveries in hand, so that a slow one holds up no other."""

    def __init__(self, application: Application, shift: Shift, concurrency: int) -> None:
        self._application = application
        self._shift = shift
        self._concurrency = concurrency
        self._in_hand = 0

    async def run(self, *, until_idle: bool) -> None:
        """Work until the shift is over, and then until what is in hand is done."""
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


@asynccontextmanager
async def _ended_by_signals(shift: Shift, grace: float) -> AsyncIterator[None]:
    """End the shift at the first signal, and cancel the body `grace` seconds later."""
    async with task_group() as group:
        with CancelScope() as body:
            await group.start(_watch_signals, shift, body, grace)
            yield
        group.cancel_scope.cancel()


async def _watch_signals(
    shift: Shift,
    scope: CancelScope,
    grace: float,
    *,
    task_status: TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if shift.is_over:
                os._exit(128 + number)
            logger.info("stopping; work in hand has %g s to finish", grace)
            shift.end()
            scope.deadline = anyio.current_time() + grace
