"""Kafka, or what speaks its protocol: a topic each for events, commands and dead commands."""

import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio
from aiokafka.errors import (  # type: ignore[import-untyped]
    InvalidMessageError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage, Topic
from faststream.kafka.helpers import AdminService

from allocation.adapters.brokers.base import (
    COMMANDS,
    DEAD_COMMANDS,
    EVENTS,
    Broker,
    Incoming,
    Outgoing,
    undecoded,
)
from allocation.adapters.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from allocation.adapters.brokers.exceptions import BrokerUnavailable
from allocation.adapters.brokers.line import CONFIRM_SECONDS, describe
from allocation.service_layer.envelopes import Envelope

GROUP = "allocation"
MAX_MESSAGE_BYTES = 20_000_000  # what arrived has to fit into the dead letters

# https://kafka.apache.org/protocol: size, key of the API, its version, correlation id, no client id
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 0, -1)


class MissingTopic(BrokerUnavailable):
    """A topic is not there, and may not be made by us."""

    def __init__(self, name: str, reason: Exception) -> None:
        super().__init__(
            "Kafka",
            f"the topic {name} does not exist and cannot be created ({describe(reason)}): create"
            " it, or nothing is consumed",
        )


class Kafka(Broker[KafkaBroker]):
    """Publishes with `acks=all`; the key is the aggregate's id, so its events share a partition."""

    kind = "Kafka"
    ack_covers_earlier = True  # an offset is that of the last one
    refusals = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError)

    def __init__(self, servers: Sequence[str]) -> None:
        super().__init__()
        self._servers = list(servers)

    def _new_subscriber(self, prefetch: int) -> tuple[KafkaBroker, Any]:
        broker = KafkaBroker(self._servers, logger=None, apply_types=False)
        subscriber = broker.subscriber(
            COMMANDS,
            group_id=GROUP,
            auto_offset_reset="earliest",
            ack_policy=AckPolicy.MANUAL,
            parser=_readable,
            decoder=undecoded,
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
        )
        return broker, subscriber

    async def _prepare_to_consume(self, connection: KafkaBroker) -> None:
        await self._knock()
        await connection.connect()
        await _require_dead_commands(connection.config.admin)

    async def _connect_for_the_dead(self) -> KafkaBroker:
        return await self._connect_for_events()

    async def _connect_for_events(self) -> KafkaBroker:
        await self._knock()
        broker = KafkaBroker(
            self._servers,
            acks="all",
            request_timeout_ms=CONFIRM_SECONDS * 1000,
            max_request_size=MAX_MESSAGE_BYTES,
            logger=None,
            apply_types=False,
        )
        await broker.connect()
        return broker

    def _as_message(self, envelope: Envelope) -> Outgoing:
        return Outgoing(
            target=EVENTS,
            body=to_cloud_event(envelope),
            headers={"content-type": CONTENT_TYPE},
            properties={"key": envelope.subject.encode()},
        )

    async def _deliver(self, message: Outgoing, connection: KafkaBroker) -> None:
        headers = dict(message.headers)
        await connection.publish(
            message.body, topic=message.target, headers=headers, **message.properties
        )

    def _as_it_came(self, message: KafkaMessage) -> Incoming:
        return Incoming(
            body=message.body,
            headers=dict(message.headers),
            properties={"key": message.raw_message.key},  # type: ignore[union-attr]
            ack=message.ack,
        )

    async def _knock(self) -> None:
        """Fail if no server answers: the library would leave half a producer behind.

        :raises OSError: the reason of the last one
        """
        for server in self._servers:
            host, _, port = server.rpartition(":")
            try:
                async with await anyio.connect_tcp(host, int(port)) as stream:
                    await stream.send(API_VERSIONS_REQUEST)
                    await stream.receive(1)
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
                reason = error
            else:
                return
        raise ConnectionError(describe(reason)) from reason


async def _require_dead_commands(admin: AdminService) -> None:
    """Create the topic if it is not there, with as many copies as the commands have.

    Where topics do not come by themselves, the first dead command would hold up all behind it.

    :raises MissingTopic: if it can neither be found nor created
    """
    topics = {topic["topic"]: topic["partitions"] for topic in await admin.client.describe_topics()}
    if DEAD_COMMANDS in topics:
        return
    copies = [len(partition["replicas"]) for partition in topics.get(COMMANDS, ())]
    topic = Topic(DEAD_COMMANDS, replication_factor=max(copies, default=1))
    (result,) = await admin.create_topics([topic])
    if result.error:
        raise MissingTopic(DEAD_COMMANDS, result.error)


async def _readable(record: Any, parse: Callable[[Any], Awaitable[Any]]) -> Any:
    """Parse any record there can be: the library insists on text in headers and on a value."""
    headers = tuple(
        (name, (value or b"").decode(errors="replace").encode()) for name, value in record.headers
    )
    return await parse(replace(record, headers=headers, value=record.value or b""))
