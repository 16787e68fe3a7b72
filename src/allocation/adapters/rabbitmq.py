"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
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

from allocation.adapters import wire
from allocation.adapters.brokers import (
    COMMANDS,
    CONNECT_SECONDS,
    DEAD_COMMANDS,
    EVENTS,
    Broker,
    Incoming,
    closed,
)
from allocation.service_layer.delivery import Envelope

EXCHANGE = RabbitExchange(EVENTS, type=ExchangeType.TOPIC, durable=True)
DEAD_QUEUE = RabbitQueue(DEAD_COMMANDS, durable=True)
QUEUE = RabbitQueue(COMMANDS, durable=True)


class RabbitMQ(Broker[RabbitBroker]):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"

    @asynccontextmanager
    async def consume(self, in_flight: int) -> AsyncIterator[AsyncGenerator[Incoming]]:
        broker = self._new_broker()
        subscriber = broker.subscriber(
            QUEUE,
            channel=Channel(prefetch_count=in_flight),
            ack_policy=AckPolicy.MANUAL,
            decoder=_as_it_came,
        )
        try:
            await broker.connect()
            await broker.declare_queue(DEAD_QUEUE)
            await subscriber.start()
            async with aclosing(subscriber.__aiter__()) as messages:  # type: ignore[type-var]
                yield (_incoming(message) async for message in messages)
        finally:
            await closed(broker.stop)

    async def _connect(self) -> RabbitBroker:
        broker = self._new_broker()
        try:
            await broker.connect()
            await broker.declare_exchange(EXCHANGE)
            await broker.declare_queue(DEAD_QUEUE)
        except BaseException:
            await closed(broker.stop)
            raise
        return broker

    async def _disconnect(self, connection: RabbitBroker) -> None:
        await connection.stop()

    async def _deliver(
        self,
        connection: RabbitBroker,
        target: str,
        body: bytes,
        envelope: Envelope | None,
        headers: Mapping[str, str],
    ) -> None:
        address: dict[str, Any] = {"queue": target}
        if envelope:
            routing_key = wire.wire_name(envelope.event)
            address = {"exchange": EXCHANGE, "routing_key": routing_key, "mandatory": False}
        await connection.publish(
            body,
            **address,
            persist=True,
            content_type=wire.CONTENT_TYPE,
            message_id=str(envelope.id) if envelope else None,
            headers=dict(headers),
        )

    def _new_broker(self) -> RabbitBroker:
        return RabbitBroker(self._url, timeout=CONNECT_SECONDS, logger=None, apply_types=False)


async def _as_it_came(message: Any) -> Any:
    """Decode nothing: what cannot be decoded must not fail inside the library."""
    return message.body


def _incoming(message: RabbitMessage) -> Incoming:
    headers = {name: str(value) for name, value in message.headers.items()}
    return Incoming(message.body, headers, message.ack)
