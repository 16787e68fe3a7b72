"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones.

What AMQP's library cannot decode ends its connection before we see it, and comes again. Only the
broker can end that: the queue of commands is a quorum queue, which counts how often a message came
back, and moves it to the dead ones at the limit. All that was underway with it is counted, too. So
after such an end messages are taken one by one, until as many as usual have gone well.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from aio_pika import RobustConnection
from aio_pika.abc import AbstractConnection, TimeoutType
from aiormq.exceptions import (
    ChannelPreconditionFailed,
    ConnectionFrameError,
    InvalidFrameError,
)
from faststream import AckPolicy
from faststream.rabbit import (
    Channel,
    ExchangeType,
    QueueType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)

from allocation.adapters import wire
from allocation.adapters.brokers.base import (
    COMMANDS,
    DEAD_COMMANDS,
    DELIVERY_LIMIT,
    EVENTS,
    Broker,
    Incoming,
    Outgoing,
    undecoded,
)
from allocation.adapters.brokers.line import CONNECT_SECONDS, close_quietly, describe
from allocation.domain.exceptions import BrokerUnavailable
from allocation.service_layer.delivery import Envelope

EXCHANGE = RabbitExchange(EVENTS, type=ExchangeType.TOPIC, durable=True)
DEAD_QUEUE = RabbitQueue(DEAD_COMMANDS, durable=True)
QUEUE = RabbitQueue(
    COMMANDS,
    queue_type=QueueType.QUORUM,
    durable=True,
    arguments={
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD_COMMANDS,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # which that strategy insists on
    },
)

logger = logging.getLogger(__name__)


class UndecodableMessage(BrokerUnavailable):
    """A message broke the connection, because the AMQP library cannot decode it."""

    def __init__(self, reason: BaseException, *, ends_by_itself: bool) -> None:
        fate = (
            f"RabbitMQ moves it to {DEAD_COMMANDS} after {DELIVERY_LIMIT} deliveries"
            if ends_by_itself
            else f"it comes again until somebody takes it out of the queue: {COMMANDS} has no"
            " delivery limit"
        )
        super().__init__(
            "RabbitMQ",
            f"a message in {COMMANDS} cannot be decoded ({describe(reason)}), which ends the"
            f" connection; {fate}",
        )


class _Socket(RobustConnection):
    """What is below; leaves nothing behind when it cannot connect, or may not any longer.

    The library would go on trying, and keep the process from ending.
    """

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 - the library's
        try:
            await super().connect(timeout)
        except BaseException:
            await close_quietly(self.close)
            raise


class _Connection(RabbitBroker):
    """A connection that stays lost when it is lost, and knows why.

    The library would open it again, and tell nobody.
    """

    def __init__(self, url: str) -> None:
        super().__init__(
            url,
            timeout=CONNECT_SECONDS,
            default_channel=Channel(on_return_raises=True),  # or a dead letter could be lost
            on_close=[self._on_loss],
            logger=None,
            apply_types=False,
        )
        self._connection_kwargs["connection_class"] = _Socket
        self.loss: BaseException | None = None

    async def connect(self) -> RobustConnection:
        try:
            return await super().connect()
        except InvalidFrameError as error:  # the library drops the server's reason
            raise ConnectionError(
                "it refuses the virtual host in the URL: there is none of this name, or the user"
                " may not enter it"
            ) from error

    async def _on_loss(
        self, connection: AbstractConnection | None, error: BaseException | None
    ) -> None:
        self.loss = self.loss or error or ConnectionError("the connection was lost")
        if isinstance(connection, RobustConnection):
            # beside, since closing waits for those who are told of the loss
            self._ending = connection.loop.create_task(close_quietly(connection.close))


class RabbitMQ(Broker[_Connection]):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"
    refusals = (ChannelPreconditionFailed, ConnectionFrameError)

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._one_by_one = False
        self._has_limit = True

    def _new_subscriber(self, prefetch: int) -> tuple[_Connection, Any]:
        connection = _Connection(self._url)
        subscriber = connection.subscriber(
            RabbitQueue(COMMANDS, durable=True, declare=False),
            channel=Channel(prefetch_count=1 if self._one_by_one else prefetch),
            ack_policy=AckPolicy.MANUAL,
            decoder=undecoded,
        )
        return connection, subscriber

    async def _prepare_to_consume(self, connection: _Connection) -> None:
        await _declare(connection, DEAD_QUEUE)
        self._has_limit = await _declare(connection, QUEUE)
        if not self._has_limit:
            logger.warning(
                "the queue %s is not of the kind that this program makes, with a delivery limit:"
                " a message that cannot be decoded would come for ever",
                COMMANDS,
            )

    async def _received(
        self, messages: AsyncIterator[Any], connection: _Connection, prefetch: int
    ) -> AsyncGenerator[Incoming]:
        taken = 0
        async for message in messages:
            yield self._as_it_came(message)
            taken += 1
            if self._one_by_one and taken >= prefetch:
                self._one_by_one = False
                return
        loss = connection.loss
        if isinstance(loss, InvalidFrameError):
            self._one_by_one = True
            raise UndecodableMessage(loss, ends_by_itself=self._has_limit)
        raise ConnectionError("the connection was lost") from loss

    def _is_lost(self, connection: _Connection) -> bool:
        return connection.loss is not None

    async def _connect_for_events(self) -> _Connection:
        async def make_exchange(connection: _Connection) -> None:
            await connection.connect()
            await connection.declare_exchange(EXCHANGE)

        return await self._connected(make_exchange)

    async def _connect_for_the_dead(self) -> _Connection:
        async def make_queue(connection: _Connection) -> None:
            await _declare(connection, DEAD_QUEUE)

        return await self._connected(make_queue)

    async def _connected(self, prepare: Callable[[_Connection], Awaitable[None]]) -> _Connection:
        connection = _Connection(self._url)
        try:
            await prepare(connection)
        except BaseException:
            await close_quietly(connection.stop)
            raise
        return connection

    def _as_message(self, envelope: Envelope) -> Outgoing:
        return Outgoing(
            target=EVENTS,
            body=wire.to_cloud_event(envelope),
            properties={
                "exchange": EXCHANGE,
                "routing_key": wire.wire_name(type(envelope.event)),
                "mandatory": False,  # that nobody listens is no failure
                "content_type": wire.CONTENT_TYPE,
                "message_id": str(envelope.id),
            },
        )

    async def _deliver(self, message: Outgoing, connection: _Connection) -> None:
        is_event = "exchange" in message.properties
        address: dict[str, Any] = {} if is_event else {"queue": message.target}
        await connection.publish(
            message.body,
            **address,
            **message.properties,
            headers=dict(message.headers),
            persist=True,
        )

    def _as_it_came(self, message: RabbitMessage) -> Incoming:
        raw = message.raw_message
        return Incoming(
            body=message.body,
            # these two would have it routed to others once more
            headers={name: v for name, v in raw.headers.items() if name not in {"CC", "BCC"}},
            properties={
                "content_type": raw.content_type,
                "content_encoding": raw.content_encoding,
                "correlation_id": raw.correlation_id,
                "message_id": raw.message_id,
            },
            ack=message.ack,
        )


async def _declare(broker: _Connection, queue: RabbitQueue) -> bool:
    """Connect, make a queue, and tell whether it is as wanted; if not, there is another one.

    Which is used as it is: whoever has made it may have had reasons.
    """
    connection = await broker.connect()
    async with connection.channel() as channel:
        try:
            await channel.declare_queue(
                queue.name, durable=True, arguments=queue.arguments, robust=False
            )
        except ChannelPreconditionFailed:
            return False
    return True
