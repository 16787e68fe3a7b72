"""The worker: takes over the deliveries that nobody holds, until it is told to stop."""

import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio import CancelScope, move_on_after

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings
from allocation.domain.exceptions import Unavailable
from allocation.entrypoints.running import task_group
from allocation.service_layer.messagebus import Observer

POLL_SECONDS = 1.0  # how long a delivery made due by another process may go unseen
RECONNECT_SECONDS = 1.0

logger = logging.getLogger(__name__)


def run_worker(
    settings: Settings, *, observer: Observer, concurrency: int, until_idle: bool
) -> None:
    """Work until SIGTERM or SIGINT, or, with `until_idle`, until only parked deliveries are left.

    On the first signal nothing more is claimed, and what is in hand has the grace period to finish;
    the rest is given back. A second signal ends the process at once; leases then end by themselves.

    :raises Unavailable: if the database cannot be used at start; later the worker waits for it
    """

    async def main() -> None:
        async with (
            _stopped_by_signals(settings.grace_seconds) as stopping,
            bootstrap(settings, observer=observer) as application,
        ):
            await _work(application, stopping, concurrency, until_idle=until_idle)

    anyio.run(main, backend=settings.backend)


async def _work(
    application: Application, stopping: anyio.Event, concurrency: int, *, until_idle: bool
) -> None:
    while not stopping.is_set():
        try:
            pause = await _work_once(application, concurrency)
        except Unavailable as error:
            logger.error("%s; the worker tries again in %g s", error, RECONNECT_SECONDS)
            pause = RECONNECT_SECONDS
        if pause is None and until_idle:
            return
        with move_on_after(POLL_SECONDS if pause is None else min(pause, POLL_SECONDS)):
            await stopping.wait()


async def _work_once(application: Application, concurrency: int) -> float | None:
    """Do one batch of what is due; return the seconds until there is more, if there is any."""
    pause = await application.outbox.seconds_until_due()
    if pause is None or pause > 0:
        return pause
    await application.bus.deliver(await application.outbox.claim(concurrency))
    return 0


@asynccontextmanager
async def _stopped_by_signals(grace: float) -> AsyncIterator[anyio.Event]:
    """Yield an event that the first signal sets; `grace` seconds later the body is cancelled."""
    stopping = anyio.Event()
    async with task_group() as group:
        await group.start(_watch_signals, stopping, group.cancel_scope, grace)
        yield stopping
        group.cancel_scope.cancel()


async def _watch_signals(
    stopping: anyio.Event,
    scope: CancelScope,
    grace: float,
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if stopping.is_set():
                os._exit(128 + number)
            logger.info("stopping; work in hand has %g s to finish", grace)
            stopping.set()
            scope.deadline = anyio.current_time() + grace
