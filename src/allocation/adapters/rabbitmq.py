"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from faststream import AckPolicy
from faststream.rabbit import (
    Channel,
    ExchangeType,
    RabbitBroker,
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)

from allocation.adapters.brokers import (
    COMMANDS,
    CONNECT_SECONDS,
    DEAD_COMMANDS,
    EVENTS,
    Broker,
    Incoming,
    Outgoing,
    as_it_came,
    close_quietly,
)

EXCHANGE = RabbitExchange(EVENTS, type=ExchangeType.TOPIC, durable=True)
DEAD_QUEUE = RabbitQueue(DEAD_COMMANDS, durable=True)
QUEUE = RabbitQueue(COMMANDS, durable=True)


class RabbitMQ(Broker[RabbitBroker]):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncGenerator[Incoming]]:
        broker = self._new_broker()
        subscriber = broker.subscriber(
            QUEUE,
            channel=Channel(prefetch_count=prefetch),
            ack_policy=AckPolicy.MANUAL,
            decoder=as_it_came,
        )
        try:
            await broker.connect()
            await broker.declare_queue(DEAD_QUEUE)
            await subscriber.start()
            async with aclosing(subscriber.__aiter__()) as messages:  # type: ignore[type-var]
                yield (_incoming(message) async for message in messages)
        finally:
            await close_quietly(broker.stop)

    async def _connect(self) -> RabbitBroker:
        broker = self._new_broker()
        try:
            await broker.connect()
            await broker.declare_exchange(EXCHANGE)
            await broker.declare_queue(DEAD_QUEUE)
        except BaseException:
            await close_quietly(broker.stop)
            raise
        return broker

    async def _disconnect(self, connection: RabbitBroker) -> None:
        await connection.stop()

    async def _deliver(self, connection: RabbitBroker, message: Outgoing) -> None:
        address: dict[str, Any] = {"queue": message.target}
        if message.target == EVENTS:
            address = {"exchange": EXCHANGE, "routing_key": message.type, "mandatory": False}
        await connection.publish(
            message.body,
            **address,
            persist=True,
            content_type=message.content_type,
            message_id=message.message_id,
            headers=dict(message.headers),
        )

    def _new_broker(self) -> RabbitBroker:
        return RabbitBroker(self._url, timeout=CONNECT_SECONDS, logger=None, apply_types=False)


def _incoming(message: RabbitMessage) -> Incoming:
    return Incoming(
        body=message.body,
        headers={name: str(value) for name, value in message.headers.items()},
        content_type=message.content_type,
        ack=message.ack,
    )
