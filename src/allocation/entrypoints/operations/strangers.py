"""Warns, beside a worker, of deliveries that are overdue: no process that runs can do them."""

import logging
from collections.abc import Sequence

from anyio import move_on_after

from allocation.adapters.operations.views import Stranger, strangers
from allocation.bootstrap import Application
from allocation.config import Settings
from allocation.entrypoints.running import Service, StopSignal

LOOK_SECONDS = 60.0

logger = logging.getLogger(__name__)


def watching(settings: Settings) -> Service:
    """Return the service."""

    async def watch(application: Application, stop: StopSignal) -> None:
        told: Sequence[Stranger] = ()
        while True:
            try:
                told = await _tell_news(application, told, overdue=settings.lease_seconds)
            except Exception as error:  # nothing in the database may end the worker
                logger.warning("it is not known what is overdue: %s", error)
            with move_on_after(LOOK_SECONDS):
                await stop.wait()
            if stop.is_set:
                return

    return watch


async def _tell_news(
    application: Application, told: Sequence[Stranger], *, overdue: float
) -> Sequence[Stranger]:
    """Tell, once, what is overdue although this process is there: it cannot do it."""
    handlers = list(application.bus.registry.events)
    found = await strangers(application.database, handlers, overdue=overdue)
    for stranger in found if found != told else ():
        logger.warning(
            "overdue: %s for %s (%d): this process has no such handler, outside port or event;"
            " one that has will do them",
            stranger.event_type,
            stranger.handler,
            stranger.count,
        )
    return found
