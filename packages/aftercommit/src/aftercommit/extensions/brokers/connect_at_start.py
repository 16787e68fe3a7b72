"""Connects a worker to its brokers when it starts, not with the first event.

The exchange for events then exists, so that other services can bind queues to it, and a wrong login
or certificate is logged at once.
"""

import logging

from anyio import create_task_group, sleep

from aftercommit.extensions.brokers.base import Broker
from aftercommit.extensions.brokers.command_consumer import cancel_on_shutdown
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable
from aftercommit.extensions.brokers.message_handler import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
)
from aftercommit.process.application import Application
from aftercommit.process.running_services import Shutdown

logger = logging.getLogger(__name__)


async def connect_publishers(application: Application, stop: Shutdown) -> None:
    """Connect to each broker; return when all are connected, or at shutdown."""
    async with cancel_on_shutdown(stop), create_task_group() as group:
        for publisher in application.publishers.values():
            if isinstance(publisher, Broker):
                group.start_soon(_connect, publisher)


async def _connect(broker: Broker) -> None:
    pause, has_warned = FIRST_PAUSE_SECONDS, False
    while True:
        try:
            return await broker.connect()
        except BrokerUnavailable as error:
            if not has_warned:
                logger.warning("%s; trying again", error)
            has_warned = True
        await sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
