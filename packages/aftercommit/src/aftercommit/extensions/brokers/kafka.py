"""Kafka, or what speaks its protocol: a topic each for events, commands and dead commands."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from random import choice
from typing import Any

import anyio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.conn import collect_hosts, create_conn  # type: ignore[import-untyped]

from aftercommit.envelopes import Envelope
from aftercommit.extensions.brokers import base
from aftercommit.extensions.brokers.base import InboundMessage, describe
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from aftercommit.extensions.brokers.exceptions import MissingTopic
from aftercommit.extensions.brokers.kafka_decompression import limit_decompression
from aftercommit.extensions.brokers.kafka_url import KafkaCluster

UNDECODABLE = (UnicodeDecodeError, errors.CorruptRecordException, errors.UnsupportedCodecError)
PROBE_SECONDS = 1.0  # for a partition, which may have nothing new
MAX_MESSAGE_BYTES = 20_000_000  # what arrived has to fit into the dead letters
ACCOUNT_REFUSED = "it refuses the user or the password in the URL"
"""The end of SCRAM with an error (RFC 5802, "e=…"), which the library takes for a KeyError."""

Parts = tuple[bytes, Mapping[str, Any], Mapping[str, Any]]  # body, headers, properties


class KafkaConnection(AIOKafkaProducer):  # type: ignore[misc]
    """A connection to publish with; the library restores what it loses."""

    loss: BaseException | None = None
    close = AIOKafkaProducer.stop

    def __init__(self, cluster: KafkaCluster, channels: Channels, **options: Any) -> None:
        super().__init__(bootstrap_servers=cluster.servers, **cluster.login, **options)
        self._cluster, self._channels = cluster, channels

    async def start(self) -> None:
        """Open it."""
        await _start(super().start, self._cluster)

    async def publish(self, envelope: Envelope) -> None:
        """Send an event."""
        await self.send_and_wait(
            self._channels.events,
            to_cloud_event(envelope),
            key=(envelope.key or envelope.subject).encode(),
            headers=[("content-type", CONTENT_TYPE.encode())],
        )

    async def dead_letter(self, dead: InboundMessage) -> None:
        """Send a dead command."""
        headers = [
            (name, value.encode() if isinstance(value, str) else value)
            for name, value in dead.headers.items()
        ]
        topic = self._channels.dead_letters
        await self.send_and_wait(topic, dead.body, headers=headers, **dead.properties)


class Kafka(base.Broker):
    """Publishes with `acks=all`; the key is the event's: those with the same share a partition."""

    kind = "Kafka"
    refusals = (
        errors.MessageSizeTooLargeError,
        errors.RecordListTooLargeError,
        errors.InvalidMessageError,
    )
    rejections = (errors.KafkaTimeoutError,)

    def __init__(self, cluster: KafkaCluster, channels: Channels) -> None:
        super().__init__(channels)
        self._cluster = cluster

    @asynccontextmanager
    async def consume(self, prefetch: int) -> AsyncIterator[AsyncIterator[InboundMessage]]:
        limit_decompression()
        await self._ensure_dead_letter_topic()
        consumer = AIOKafkaConsumer(
            self.channels.commands,
            bootstrap_servers=self._cluster.servers,
            **self._cluster.login,
            group_id=self.channels.application,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
        )
        try:
            await _start(consumer.start, self._cluster)
            yield _one_by_one(consumer)
        finally:
            await base.close_best_effort(consumer.stop)

    async def _ensure_dead_letter_topic(self) -> None:
        """Create the topic if it is not there, with as many copies as the commands have.

        Where topics do not come by themselves, the first dead command would hold up all behind it.

        :raises MissingTopic: if it can neither be found nor created
        """
        limit, wanted = base.CONNECT_TIMEOUT * 1000, self.channels.dead_letters
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._cluster.servers,
            **self._cluster.login,
            request_timeout_ms=limit,
        )
        try:
            await _start(admin.start, self._cluster)
            topics = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
            if wanted in topics:
                return
            commands = topics.get(self.channels.commands, ())
            copies = max((len(each["replicas"]) for each in commands), default=1)
            created = await admin.create_topics([NewTopic(wanted, 1, copies)])
        finally:
            await base.close_best_effort(admin.close)
        ((_, code, *reason),) = created.topic_errors
        if code not in (0, errors.TopicAlreadyExistsError.errno):
            raise MissingTopic(
                self.kind,
                f"the topic {wanted} does not exist and cannot be created"
                f" ({errors.for_code(code)(*reason)}): create it, or nothing is consumed",
            )

    def new_connection(self) -> KafkaConnection:
        return KafkaConnection(
            self._cluster,
            self.channels,
            acks="all",
            request_timeout_ms=base.CONFIRM_TIMEOUT * 1000,
            max_request_size=MAX_MESSAGE_BYTES,
        )


async def _start(start: Callable[[], Awaitable[None]], cluster: KafkaCluster) -> None:
    """Start one of the library's clients.

    The library only logs why it can use none of the servers, so each is asked once more.

    :raises ConnectionError: with that reason
    """
    try:
        await start()
    except errors.KafkaConnectionError as error:
        hosts = [(host, port) for host, port, _ in collect_hosts(cluster.servers)]
        reasons = [reason for each in hosts if (reason := await _refusal(*each, cluster))]
        raise ConnectionError("; ".join(reasons) or describe(error)) from error
    except KeyError as error:
        raise ConnectionError(ACCOUNT_REFUSED) from error


async def _refusal(host: str, port: int, cluster: KafkaCluster) -> str | None:
    """Return why a server cannot be used now; None if it can."""
    limit = base.CONNECT_TIMEOUT * 1000
    try:
        connection = await create_conn(host, port, request_timeout_ms=limit, **cluster.login)
    except KeyError:
        return f"{host}:{port}: {ACCOUNT_REFUSED}"
    except Exception as error:
        return f"{host}:{port}: {describe(error)}"
    connection.close()
    return None


async def _one_by_one(consumer: AIOKafkaConsumer) -> AsyncIterator[InboundMessage]:
    """Fetch a message when the one before is acknowledged: an offset acknowledges all before it."""
    while True:
        for body, headers, properties in await _next(consumer):
            done = anyio.Event()
            ack = partial(_acknowledge, consumer, done)
            yield InboundMessage(body=body, headers=headers, properties=properties, ack=ack)
            await done.wait()


async def _next(consumer: AIOKafkaConsumer) -> Sequence[Parts]:
    """Return the next message; or, if one cannot be decoded, what of it is known.

    The library raises, and does not say which partition it is: so each is asked, until one has an
    answer, as it raises once a fetch. One of them may have another message meanwhile.
    """
    with suppress(*UNDECODABLE):
        return [_parts(await consumer.getone())]
    found: Sequence[Parts] = []
    while not found and (partitions := [*consumer.assignment()]):
        found = await _ask(consumer, choice(partitions))
    return found


async def _ask(consumer: AIOKafkaConsumer, partition: Any) -> Sequence[Parts]:
    """Return what a partition has, if it answers soon: a message, or the place of a skipped one."""
    try:
        with anyio.move_on_after(PROBE_SECONDS):
            return [_parts(await consumer.getone(partition))]
    except UNDECODABLE as error:
        offset = await consumer.position(partition)
        consumer.seek(partition, offset + 1)
        place = f"partition {partition.partition}, offset {offset}: {describe(error)}"
        return [(b"", {"undecodable": place}, {})]
    return []


def _parts(record: Any) -> Parts:
    return record.value or b"", dict(record.headers), {"key": record.key}


async def _acknowledge(consumer: AIOKafkaConsumer, done: anyio.Event) -> None:
    try:
        await consumer.commit()
    finally:
        done.set()
