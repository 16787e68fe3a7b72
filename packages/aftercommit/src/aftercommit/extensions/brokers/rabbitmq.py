"""RabbitMQ: a topic exchange for events, a queue for commands, and a queue for dead commands.

Each subscription has its own queue and its own queue of dead messages, and each inlet its own
connection, so that a problem with one of them delays no other.

A message that the AMQP library cannot decode ends the connection before we see it, and arrives
again. Only the broker can stop this: the queue of commands is a quorum queue, which counts how
often a message came back, and at the limit moves it to the dead ones. It counts all messages that
were in flight, too. So after such an end, messages are taken one by one, until as many as usual
have been handled.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import cast

import aio_pika
import aiormq
import anyio
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueueIterator
from aio_pika.connection import make_url
from aiormq import exceptions as amqp
from pamqp.commands import Basic
from pamqp.common import Arguments

from aftercommit.envelopes import Envelope
from aftercommit.extensions.brokers import base
from aftercommit.extensions.brokers.base import OutgoingCommand, ReceivedMessage, describe
from aftercommit.extensions.brokers.channel_names import Channels, Inlet
from aftercommit.extensions.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    MessageRefusedError,
    OrderNotKept,
    TargetMissing,
    UndecodableMessage,
)

QUORUM_QUEUE: dict[str, str | int] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": base.DELIVERY_LIMIT,
    "x-dead-letter-exchange": "",
}

QUEUE_OF_COMMANDS: dict[str, str | int] = {
    **QUORUM_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",  # required by that strategy
}
"""A subscription has no such overflow, so that a publisher is never refused because of us."""

BINDING_SECONDS = 30.0  # until a binding is renewed: the exchange may be a new one
MISSING_SECONDS = 1.0  # between looks for a missing exchange; we miss its first messages
MAX_UNCONFIRMED = 1_000
"""With so many unconfirmed events on a connection, the next one also waits for the socket.

Below this limit, an event waits only for its own confirm. Usually the slots of the worker keep the
number far below it. But an event whose handler was cancelled stays unconfirmed: without the limit,
such events would fill the memory of this process while the broker is blocked.
"""

DEAD_LETTER_QUEUE: Arguments = {
    "x-queue-type": "quorum",
    "x-delivery-limit": -1,  # dead letters that are looked at and requeued have no limit
}

OTHER_QUEUE = (
    "the queue %s is not of the kind that this program makes (%s): without a delivery limit,"
    " a message that cannot be decoded would arrive without end"
)
OTHER_DEAD_LETTERS = (
    "the queue %s is used as it is, but it is not the quorum queue that this program makes (%s):"
    " a classic queue is on one server, and its messages are lost with it; the page on brokers says"
    " how to move them"
)
UNDECODABLE = (
    "a message in {0.queue} cannot be decoded ({1}), which ends the connection; RabbitMQ moves"
    " it to {0.dead_letters} after {2} deliveries; without that limit it comes again until somebody"
    " takes it out of the queue"
)

logger = logging.getLogger(__name__)


class RabbitMQConnection(aio_pika.Connection):
    """A connection that is not restored when it is lost, and knows why it was lost."""

    def __init__(self, urls: Sequence[str], channels: Channels) -> None:
        super().__init__(make_url(urls[0]))
        self._urls, self._channels = urls, channels
        self.loss: BaseException | None = None
        self.is_lost = anyio.Event()
        self.moves_dead_letters = False  # whether the queue of commands dead-letters rejected ones
        self.close_callbacks.add(self._on_loss)
        self._publishing: aiormq.Channel

    async def start(self) -> None:
        """Open it to the first server that accepts it, and create the exchange for events.

        So other services can bind queues to it before the first event.
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
        self.loss, self.is_lost = None, anyio.Event()  # of the earlier servers
        channel = await self._declare_exchange(self._channels.events)
        underlay = await channel.get_underlay_channel()
        self._publishing = cast("aiormq.Channel", underlay)  # the interface lacks `wait`

    async def _connect(self, seconds: float) -> None:
        try:
            await self.connect(seconds)
        except amqp.InvalidFrameError as error:  # the library drops the reason that the server gave
            raise ConnectionError(
                "it refuses the virtual host in the URL: it does not exist, or the user may not"
                " access it"
            ) from error

    async def publish(self, envelope: Envelope) -> None:
        """Send an event, whether anybody listens or not.

        The exchange's own `publish` would also hold the channel until the socket has taken the
        event, so that events would go out one by one.
        """
        await self._publishing.basic_publish(
            to_cloud_event(envelope),
            exchange=self._channels.events,
            routing_key=envelope.type,
            properties=_of_cloud_event(str(envelope.id), envelope.context.traceparent),
            wait=len(self._publishing.confirmations) >= MAX_UNCONFIRMED,
        )

    async def send_command(self, command: OutgoingCommand) -> None:
        """Send a command; it is mandatory, so that it is not lost while its queue is missing."""
        properties = _of_cloud_event(command.id, command.traceparent)
        properties.correlation_id = command.correlation_id
        async with self.channel(on_return_raises=True) as channel:
            underlay = await channel.get_underlay_channel()
            try:
                await underlay.basic_publish(
                    command.body, routing_key=command.to, properties=properties, mandatory=True
                )
            except amqp.PublishError as error:
                raise TargetMissing("RabbitMQ", f"there is no queue {command.to}") from error
            except amqp.ChannelPreconditionFailed as error:  # the channel is this command's own
                raise MessageRefusedError("RabbitMQ", describe(error)) from error

    async def _declare_exchange(self, name: str) -> AbstractChannel:
        """Create an exchange, and return a channel; an existing exchange is used as it is.

        It may differ on purpose. It is also used if this user may not create any; if it does not
        exist then, publishing the first event fails.
        """
        channel = await self.channel()
        try:
            await channel.declare_exchange(name, ExchangeType.TOPIC, durable=True)
        except (amqp.ChannelPreconditionFailed, amqp.ChannelAccessRefused):
            return await self.channel()  # the broker has closed the first channel
        return channel

    async def dead_letter(self, dead: ReceivedMessage, to: str) -> None:
        """Send a dead message; it is mandatory, so that it is not lost if its queue is missing."""
        await self.declare(to, DEAD_LETTER_QUEUE)
        message = Message(
            dead.body,
            headers=dict(dead.headers),
            delivery_mode=DeliveryMode.PERSISTENT,
            **dead.properties,
        )
        async with self.channel(on_return_raises=True) as channel:
            await channel.default_exchange.publish(message, to)

    async def declare(self, queue: str, arguments: Arguments) -> str | None:
        """Create a queue; if there is another one of this name, return how they differ.

        An existing queue is used as it is: it may differ on purpose.
        """
        async with self.channel() as channel:
            try:
                await channel.declare_queue(queue, durable=True, arguments=arguments)
            except amqp.ChannelPreconditionFailed as error:
                return describe(error)
        return None

    async def bind(self, queue: str, exchange: str, routing_keys: Sequence[str]) -> str | None:
        """Bind a queue to another service's exchange; return what prevents it, or None."""
        try:
            async with self.channel() as channel:
                bound = await channel.get_queue(queue, ensure=False)
                for key in routing_keys:
                    await bound.bind(exchange, key)
        except (amqp.ChannelNotFoundEntity, amqp.ChannelAccessRefused) as error:
            return describe(error)
        return None

    async def receive(self, queue: str, prefetch: int) -> AbstractQueueIterator:
        """Return the messages of a queue; from now on, RabbitMQ sends them."""
        channel = await self.channel()
        await channel.set_qos(prefetch)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_consumer_cancelled)
        messages = (await channel.get_queue(queue)).iterator()
        await messages.consume()
        return messages

    def _on_loss(self, _: object, error: BaseException | None) -> None:
        self.loss = error or ConnectionError("the connection was lost")
        self.is_lost.set()

    def _on_consumer_cancelled(self, _frame: object) -> None:
        """End the connection: the library would wait for messages that never arrive."""
        loss = ConnectionError("the consumer was cancelled; its queue may be deleted")
        # as a task: this function runs in the one that closing waits for
        self._ending = self.loop.create_task(self.close(loss))


class RabbitMQ(base.Broker):
    """Publishes persistent messages, and waits for the broker to confirm each."""

    kind = "RabbitMQ"
    refusals = (
        *(amqp.ChannelPreconditionFailed, amqp.ConnectionFrameError),
        *(OverflowError, TypeError),  # the library cannot encode what it has decoded
    )
    rejections = (amqp.DeliveryError,)

    def __init__(self, urls: Sequence[str], channels: Channels) -> None:
        super().__init__(channels)
        self._urls = urls
        self._serial_mode = set[str]()  # of these queues

    def feeds(self, inlet: Inlet) -> bool:
        return inlet.queue is not None

    @asynccontextmanager
    async def consume(
        self, inlet: Inlet, prefetch: int, report: base.Report
    ) -> AsyncIterator[AsyncIterator[ReceivedMessage]]:
        connection, queue = self.new_connection(), str(inlet.queue)
        async with AsyncExitStack() as closing:
            closing.push_async_callback(base.close_best_effort, connection.close)
            await connection.start()
            if difference := await connection.declare(inlet.dead_letters, DEAD_LETTER_QUEUE):
                logger.warning(OTHER_DEAD_LETTERS, inlet.dead_letters, difference)
            difference = await connection.declare(queue, dict(arguments_of(inlet))) or ""
            if inlet.in_order and difference:  # it names the first one only
                raise OrderNotKept(queue, difference)
            connection.moves_dead_letters = not difference
            if difference:
                logger.warning(OTHER_QUEUE, queue, difference)
            at_a_time = 1 if queue in self._serial_mode or inlet.in_order else prefetch
            if inlet.exchange is not None:
                is_bound = await _bind(connection, inlet, report)
                keeping = _keep_bound(connection, inlet, report, is_bound=is_bound)
                binding = connection.loop.create_task(keeping)  # no scope of a caller ends it
                closing.callback(binding.cancel)
            received = await connection.receive(queue, at_a_time)
            yield self._until_lost(received, connection, inlet, prefetch)

    async def _until_lost(
        self,
        received: AbstractQueueIterator,
        connection: RabbitMQConnection,
        inlet: Inlet,
        prefetch: int,
    ) -> AsyncIterator[ReceivedMessage]:
        taken, queue = 0, str(inlet.queue)
        async for message in received:
            yield _to_received(message, moves_dead_letters=connection.moves_dead_letters)
            taken += 1
            if queue in self._serial_mode and taken >= prefetch:
                self._serial_mode.discard(queue)
                return
        with anyio.move_on_after(base.CLOSE_TIMEOUT):  # the messages end before the reason comes
            await connection.is_lost.wait()
        loss = connection.loss or ConnectionError("the connection was lost")
        if isinstance(loss, (amqp.InvalidFrameError, RecursionError)):
            self._serial_mode.add(queue)
            problem = UNDECODABLE.format(inlet, describe(loss), base.DELIVERY_LIMIT)
            raise UndecodableMessage(self.kind, problem) from loss
        raise BrokerUnavailable(self.kind, describe(loss)) from loss

    def new_connection(self) -> RabbitMQConnection:
        return RabbitMQConnection(self._urls, self.channels)


def _of_cloud_event(message_id: str, traceparent: str | None) -> Basic.Properties:
    """Return a message's properties, in a fifteenth of the time of aio-pika's `Message`."""
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        headers={"traceparent": traceparent} if traceparent else {},
        message_id=message_id,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


def _as_one(refusals: Mapping[str, Exception]) -> Exception:
    """Return as one reason why each of the named servers refused."""
    if len(refusals) == 1:
        return next(iter(refusals.values()))
    return ConnectionError("; ".join(f"{at}: {describe(why)}" for at, why in refusals.items()))


def arguments_of(inlet: Inlet) -> Mapping[str, str | int]:
    """Return the arguments with which the queue of an inlet is declared."""
    of_kind = QUEUE_OF_COMMANDS if inlet.exchange is None else QUORUM_QUEUE
    in_order: dict[str, int] = {"x-single-active-consumer": True} if inlet.in_order else {}
    return {**of_kind, **in_order, "x-dead-letter-routing-key": inlet.dead_letters}


async def _bind(connection: RabbitMQConnection, inlet: Inlet, report: base.Report) -> bool:
    """Bind an inlet's queue to another service's exchange; report and return whether it is."""
    queue, exchange = str(inlet.queue), str(inlet.exchange)
    problem = await connection.bind(queue, exchange, inlet.routing_keys)
    report(problem and f"{queue} cannot be bound to the exchange {exchange}: {problem}")
    return problem is None


async def _keep_bound(
    connection: RabbitMQConnection, inlet: Inlet, report: base.Report, *, is_bound: bool
) -> None:
    """Bind it again and again, more often while it cannot be bound."""
    with suppress(Exception):  # the connection was lost, which its consumer reports
        while True:
            await anyio.sleep(BINDING_SECONDS if is_bound else MISSING_SECONDS)
            is_bound = await _bind(connection, inlet, report)


def _to_received(message: AbstractIncomingMessage, *, moves_dead_letters: bool) -> ReceivedMessage:
    kept = ("content_type", "content_encoding", "correlation_id", "message_id", "reply_to")
    return ReceivedMessage(
        body=message.body,
        # with these two headers, it would be routed to other queues again
        headers={name: v for name, v in message.headers.items() if name not in {"CC", "BCC"}},
        properties={name: getattr(message, name) for name in kept},
        key=message.routing_key,
        ack=message.ack,
        # from another queue, RabbitMQ would drop it
        reject=partial(message.reject, requeue=False) if moves_dead_letters else None,
    )
