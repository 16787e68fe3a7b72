"""RabbitMQ: a topic exchange for events, a queue for commands, and one for dead ones.

What AMQP's library cannot decode ends its connection before we see it, and comes again. Only the
broker can end that: the queue of commands is a quorum queue, which counts how often a message came
back, and moves it to the dead ones at the limit. All that was underway with it is counted, too. So
after such an end messages are taken one by one, until as many as usual have gone well.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

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
    RabbitExchange,
    RabbitMessage,
    RabbitQueue,
)

from allocation.adapters import wire
from allocation.adapters.brokers.amqp import Connection, declare
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
from allocation.adapters.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from allocation.adapters.brokers.exceptions import BrokerUnavailable
from allocation.adapters.brokers.line import close_quietly, describe
from allocation.service_layer.envelopes import Envelope

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


class RabbitMQ(Broker[Connection]):
    """Publishes persistent messages, each confirmed by the broker."""

    kind = "RabbitMQ"
    refusals = (ChannelPreconditionFailed, ConnectionFrameError)

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._one_by_one = False
        self._has_limit = True

    def _new_subscriber(self, prefetch: int) -> tuple[Connection, Any]:
        connection = Connection(self._url)
        subscriber = connection.subscriber(
            RabbitQueue(COMMANDS, durable=True, declare=False),
            channel=Channel(prefetch_count=1 if self._one_by_one else prefetch),
            ack_policy=AckPolicy.MANUAL,
            decoder=undecoded,
        )
        return connection, subscriber

    async def _prepare_to_consume(self, connection: Connection) -> None:
        await declare(connection, DEAD_QUEUE)
        self._has_limit = await declare(connection, QUEUE)
        if not self._has_limit:
            logger.warning(
                "the queue %s is not of the kind that this program makes, with a delivery limit:"
                " a message that cannot be decoded would come for ever",
                COMMANDS,
            )

    async def _received(
        self, messages: AsyncIterator[Any], connection: Connection, prefetch: int
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
        reason = f" ({describe(loss)})" if loss else ""
        raise ConnectionError(f"the connection was lost{reason}") from loss

    def _is_lost(self, connection: Connection) -> bool:
        return connection.loss is not None

    async def _connect_for_events(self) -> Connection:
        async def make_exchange(connection: Connection) -> None:
            await connection.connect()
            await connection.declare_exchange(EXCHANGE)

        return await self._connected(make_exchange)

    async def _connect_for_the_dead(self) -> Connection:
        async def make_queue(connection: Connection) -> None:
            await declare(connection, DEAD_QUEUE)

        return await self._connected(make_queue)

    async def _connected(self, prepare: Callable[[Connection], Awaitable[None]]) -> Connection:
        connection = Connection(self._url)
        try:
            await prepare(connection)
        except BaseException:
            await close_quietly(connection.stop)
            raise
        return connection

    def _as_message(self, envelope: Envelope) -> Outgoing:
        return Outgoing(
            target=EVENTS,
            body=to_cloud_event(envelope),
            properties={
                "exchange": EXCHANGE,
                "routing_key": wire.wire_name(type(envelope.event)),
                "mandatory": False,  # that nobody listens is no failure
                "content_type": CONTENT_TYPE,
                "message_id": str(envelope.id),
            },
        )

    async def _deliver(self, message: Outgoing, connection: Connection) -> None:
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
