"""Forgets old history beside a worker, if there is a limit to it."""

import logging

from anyio import sleep

from allocation.adapters.operations.forgetting import forget
from allocation.adapters.operations.settings import OperationsSettings
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints.running import Service, StopSignal, task_group

LOOK_SECONDS = 600.0
DAY_SECONDS = 86400.0
PAUSE = 9.0  # times as long as the work takes: there is no hurry

logger = logging.getLogger(__name__)


def forgetting(settings: Settings) -> Service:
    """Return the service; several, of several processes, share the work."""
    days = settings.of(OperationsSettings).keep_history_days

    async def forget_until_told(application: Application, stop: StopSignal) -> None:
        if days is None:
            return
        async with task_group() as group:
            group.start_soon(_forget_for_ever, application, days)
            await stop.wait()
            group.cancel_scope.cancel()

    return forget_until_told


async def _forget_for_ever(application: Application, days: float) -> None:
    while True:
        try:
            count = await forget(application.database, older_than=days * DAY_SECONDS, pause=PAUSE)
            logger.info("%d events older than %g days forgotten", count, days)
        except Exception as error:  # nothing in the database may end the worker
            logger.warning("old history could not be forgotten: %s", error)
        await sleep(LOOK_SECONDS)
