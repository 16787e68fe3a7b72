"""What becomes of one message: executed and acknowledged, recognized, or a dead letter."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from allocation.extensions.brokers.base import (
    DEAD_LETTER_QUEUE,
    Broker,
    InboundMessage,
    describe,
    reject_spurious_cancellation,
)
from allocation.extensions.brokers.cloud_events import from_cloud_event
from allocation.extensions.brokers.exceptions import MessageIdReused
from allocation.service_layer.deliveries import Committed, is_permanent
from allocation.service_layer.exceptions import MessageAlreadyHandled
from allocation.service_layer.messagebus import MessageBus
from allocation.views import AcceptedCommand

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MessageExecutor:
    """Executes the commands in messages, each once."""

    bus: MessageBus
    find_accepted: Callable[[str, str | None], Awaitable[AcceptedCommand | None]]

    async def execute(
        self, broker: Broker, message: InboundMessage, fatal: Exception | None
    ) -> Committed:
        """Execute the command and acknowledge its message; return what it has committed.

        What is refused for good is dead-lettered and acknowledged; so is all that is `fatal`.

        :raises Exception: if it may work later; then the message is as it was
        """
        committed = Committed()
        try:
            if fatal:
                raise fatal
            committed = await self._execute_once(message.body)
        except Exception as error:
            if error is not fatal and not is_permanent(error):
                raise
            await broker.dead_letter(message, error)
            logger.warning("a message is in %s: %s", DEAD_LETTER_QUEUE, error)
        await _acknowledge(message)
        return committed

    async def _execute_once(self, body: bytes) -> Committed:
        command, origin = from_cloud_event(body)
        try:
            return await self.bus.execute(command, origin)
        except MessageAlreadyHandled as repeated:
            first = await self.find_accepted(origin.source, origin.id)
            if first is None:  # pruned a moment ago: when it comes again, it is a new one
                raise
            if first.fingerprint not in (None, origin.fingerprint):  # None: erased
                raise MessageIdReused(origin.source, origin.id) from None
            logger.info("%s", repeated)
            return Committed()


async def _acknowledge(message: InboundMessage) -> None:
    try:
        await reject_spurious_cancellation(message.ack)
    except Exception as error:
        reason = describe(error)
        logger.warning("a message could not be acknowledged, it will come again: %s", reason)
