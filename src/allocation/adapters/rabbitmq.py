"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones."""

from typing import Any

from aiormq.exceptions import ChannelPreconditionFailed, ConnectionFrameError
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
    Outgoing,
    close_quietly,
    undecoded,
)
from allocation.service_layer.delivery import Envelope

EXCHANGE = RabbitExchange(EVENTS, type=ExchangeType.TOPIC, durable=True)
DEAD_QUEUE = RabbitQueue(DEAD_COMMANDS, durable=True)
QUEUE = RabbitQueue(COMMANDS, durable=True)


class RabbitMQ(Broker[RabbitBroker]):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"
    refusals = (ChannelPreconditionFailed, ConnectionFrameError)

    def _new_subscriber(self, prefetch: int) -> tuple[RabbitBroker, Any]:
        broker = self._new_broker()
        subscriber = broker.subscriber(
            QUEUE,
            channel=Channel(prefetch_count=prefetch),
            ack_policy=AckPolicy.MANUAL,
            decoder=undecoded,
        )
        return broker, subscriber

    async def _prepare(self, connection: RabbitBroker) -> None:
        await connection.connect()
        await connection.declare_queue(DEAD_QUEUE)

    async def _connect(self) -> RabbitBroker:
        broker = self._new_broker()
        try:
            await self._prepare(broker)
            await broker.declare_exchange(EXCHANGE)
        except BaseException:
            await close_quietly(broker.stop)
            raise
        return broker

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

    async def _deliver(self, connection: RabbitBroker, message: Outgoing) -> None:
        is_event = "exchange" in message.properties
        address: dict[str, Any] = {} if is_event else {"queue": message.target}
        await connection.publish(
            message.body,
            **address,
            **message.properties,
            headers=dict(message.headers),
            persist=True,
        )

    def _new_broker(self) -> RabbitBroker:
        return RabbitBroker(
            self._url,
            timeout=CONNECT_SECONDS,
            default_channel=Channel(on_return_raises=True),  # or a dead letter could be lost
            logger=None,
            apply_types=False,
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
