"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones.

What AMQP's library cannot decode ends its connection before we see it, and comes again. Only the
broker can end that: the queue of commands is a quorum queue, which counts how often a message came
back, and moves it to the dead ones at the limit. All that was underway with it is counted, too. So
after such an end messages are taken one by one, until as many as usual have gone well.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import aio_pika
import anyio
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage, AbstractQueueIterator
from aio_pika.connection import make_url
from aiormq import exceptions as amqp
from pamqp.common import Arguments

from aftercommit.envelopes import Envelope
from aftercommit.extensions.brokers import base
from aftercommit.extensions.brokers.base import InboundMessage, describe
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable, UndecodableMessage

QUORUM_QUEUE: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": base.DELIVERY_LIMIT,
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # which that strategy insists on
}

DEAD_LETTER_QUEUE: Arguments = {
    "x-queue-type": "quorum",
    "x-delivery-limit": -1,  # whoever looks at a dead letter, and puts it back, does not end it
}

OTHER_QUEUE = (
    "the queue %s is not of the kind that this program makes, with a delivery limit: a"
    " message that cannot be decoded would come for ever"
)
OTHER_DEAD_LETTERS = (
    "the queue %s is used as it is, but it is not the quorum queue that this program makes (%s):"
    " a classic queue is on one server, and its messages are lost with it; docs/operations.md says"
    " how to move them"
)
UNDECODABLE = (
    "a message in {0.commands} cannot be decoded ({1}), which ends the connection; RabbitMQ moves"
    " it to {0.dead_letters} after {2} deliveries; without that limit it comes again until somebody"
    " takes it out of the queue"
)

logger = logging.getLogger(__name__)


class RabbitMQConnection(aio_pika.Connection):
    """A connection that stays lost when it is lost, and knows why."""

    def __init__(self, urls: Sequence[str], channels: Channels) -> None:
        super().__init__(make_url(urls[0]))
        self._urls, self._channels = urls, channels
        self.loss: BaseException | None = None
        self.is_lost = anyio.Event()
        self.moves_dead_letters = False  # whether the queue of commands does, if one is rejected
        self.close_callbacks.add(self._on_loss)
        self._events: AbstractExchange

    async def start(self) -> None:
        """Open it to the first server that accepts it, and make the exchange of events.

        So others can bind a queue to it before the first event.
        """
        refusals: dict[str, Exception] = {}
        for url in map(make_url, self._urls):
            self.url = url
            try:
                await self._connect(base.CONNECT_TIMEOUT / len(self._urls))
                break
            except Exception as error:
                refusals[f"{url.host}:{url.port}"] = error
        else:
            raise _as_one(refusals)
        self.loss, self.is_lost = None, anyio.Event()  # of the servers before
        self._events = await self._declare_exchange(self._channels.events)

    async def _connect(self, seconds: float) -> None:
        try:
            await self.connect(seconds)
        except amqp.InvalidFrameError as error:  # the library drops the server's reason
            raise ConnectionError(
                "it refuses the virtual host in the URL: there is none of this name, or the user"
                " may not enter it"
            ) from error

    async def publish(self, envelope: Envelope) -> None:
        """Send an event; it is fine if nobody listens."""
        message = Message(
            to_cloud_event(envelope),
            content_type=CONTENT_TYPE,
            message_id=str(envelope.id),
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await self._events.publish(message, envelope.type, mandatory=False)

    async def _declare_exchange(self, name: str) -> AbstractExchange:
        """Make an exchange; one that is there is used as it is, perhaps on purpose.

        So it is if this user may make none; if there is none, its absence shows when one is used.
        """
        channel = await self.channel()
        try:
            return await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
        except (amqp.ChannelPreconditionFailed, amqp.ChannelAccessRefused):
            return await (await self.channel()).get_exchange(name, ensure=False)

    async def dead_letter(self, dead: InboundMessage) -> None:
        """Send a dead command; it is mandatory, or it could be lost with its queue."""
        await self.declare(self._channels.dead_letters, DEAD_LETTER_QUEUE)
        message = Message(
            dead.body,
            headers=dict(dead.headers),
            delivery_mode=DeliveryMode.PERSISTENT,
            **dead.properties,
        )
        async with self.channel(on_return_raises=True) as channel:
            await channel.default_exchange.publish(message, self._channels.dead_letters)

    async def declare(self, queue: str, arguments: Arguments) -> str | None:
        """Make a queue; if there is another one, return in what they differ.

        An existing queue is used as it is: it may be so on purpose.
        """
        async with self.channel() as channel:
            try:
                await channel.declare_queue(queue, durable=True, arguments=arguments)
            except amqp.ChannelPreconditionFailed as error:
                return describe(error)
        return None

    async def receive(self, prefetch: int) -> AbstractQueueIterator:
        """Return the commands, which RabbitMQ sends from now on."""
        channel = await self.channel()
        await channel.set_qos(prefetch)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_consumer_cancelled)
        messages = (await channel.get_queue(self._channels.commands)).iterator()
        await messages.consume()
        return messages

    def _on_loss(self, _: object, error: BaseException | None) -> None:
        self.loss = error or ConnectionError("the connection was lost")
        self.is_lost.set()

    def _on_consumer_cancelled(self, _frame: object) -> None:
        """End the connection: the library would wait for messages that never come."""
        loss = ConnectionError("the consumer was cancelled; its queue may be deleted")
        # beside, since this runs in the task that closing waits for
        self._ending = self.loop.create_task(self.close(loss))


class RabbitMQ(base.Broker):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"
    refusals = (
        *(amqp.ChannelPreconditionFailed, amqp.ConnectionFrameError),
        *(OverflowError, TypeError),  # the library cannot encode again what it has decoded
    )
    rejections = (amqp.DeliveryError,)

    def __init__(self, urls: Sequence[str], channels: Channels) -> None:
        super().__init__(channels)
        self._urls = urls
        self._serial_mode = False

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncIterator[InboundMessage]]:
        connection = self.new_connection()
        try:
            await connection.start()
            commands, dead_letters = self.channels.commands, self.channels.dead_letters
            if difference := await connection.declare(dead_letters, DEAD_LETTER_QUEUE):
                logger.warning(OTHER_DEAD_LETTERS, dead_letters, difference)
            arguments: Arguments = {**QUORUM_QUEUE, "x-dead-letter-routing-key": dead_letters}
            connection.moves_dead_letters = not await connection.declare(commands, arguments)
            if not connection.moves_dead_letters:
                logger.warning(OTHER_QUEUE, commands)
            received = await connection.receive(1 if self._serial_mode else prefetch)
            yield self._until_lost(received, connection, prefetch)
        finally:
            await base.close_best_effort(connection.close)

    async def _until_lost(
        self, received: AbstractQueueIterator, connection: RabbitMQConnection, prefetch: int
    ) -> AsyncIterator[InboundMessage]:
        taken = 0
        async for message in received:
            yield _to_inbound(message, moves_dead_letters=connection.moves_dead_letters)
            taken += 1
            if self._serial_mode and taken >= prefetch:
                self._serial_mode = False
                return
        with anyio.move_on_after(base.CLOSE_TIMEOUT):  # the messages end first, the reason follows
            await connection.is_lost.wait()
        loss = connection.loss or ConnectionError("the connection was lost")
        if isinstance(loss, (amqp.InvalidFrameError, RecursionError)):
            self._serial_mode = True
            problem = UNDECODABLE.format(self.channels, describe(loss), base.DELIVERY_LIMIT)
            raise UndecodableMessage(self.kind, problem) from loss
        raise BrokerUnavailable(self.kind, describe(loss)) from loss

    def new_connection(self) -> RabbitMQConnection:
        return RabbitMQConnection(self._urls, self.channels)


def _as_one(refusals: Mapping[str, Exception]) -> Exception:
    """Return why none of the servers, by their names, can be used."""
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    return ConnectionError("; ".join(f"{at}: {describe(why)}" for at, why in refusals.items()))


def _to_inbound(message: AbstractIncomingMessage, *, moves_dead_letters: bool) -> InboundMessage:
    kept = ("content_type", "content_encoding", "correlation_id", "message_id")
    return InboundMessage(
        body=message.body,
        # these two would have it routed to others once more
        headers={name: v for name, v in message.headers.items() if name not in {"CC", "BCC"}},
        properties={name: getattr(message, name) for name in kept},
        ack=message.ack,
        # from another queue, it would be thrown away
        reject=partial(message.reject, requeue=False) if moves_dead_letters else None,
    )
