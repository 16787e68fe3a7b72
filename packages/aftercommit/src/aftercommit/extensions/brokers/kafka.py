"""Kafka, or a server with its protocol: one topic each for events, commands and dead commands."""

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from random import choice
from typing import Any

import anyio
from aiokafka import (  # type: ignore[import-untyped]
    AIOKafkaConsumer,
    AIOKafkaProducer,
    TopicPartition,
    errors,
)
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]

from aftercommit.envelopes import Envelope
from aftercommit.extensions.brokers import base
from aftercommit.extensions.brokers.base import OutgoingCommand, ReceivedMessage, describe
from aftercommit.extensions.brokers.channel_names import Channels, Inlet
from aftercommit.extensions.brokers.cloud_events import CONTENT_TYPE, to_cloud_event
from aftercommit.extensions.brokers.exceptions import (
    MessageRefusedError,
    MissingTopic,
    SourceMissing,
    TargetMissing,
)
from aftercommit.extensions.brokers.kafka_clients import start, stop_consumer, to_its_end
from aftercommit.extensions.brokers.kafka_decompression import limit_decompression
from aftercommit.extensions.brokers.kafka_url import KafkaCluster

logger = logging.getLogger(__name__)

UNDECODABLE = (UnicodeDecodeError, errors.CorruptRecordException, errors.UnsupportedCodecError)
TOPIC_SECONDS = 2.0  # for the servers to name the partitions of a topic
PROBE_SECONDS = 1.0  # for a partition to answer: it may have nothing new
MAX_MESSAGE_BYTES = 20_000_000  # a received message has to fit into the dead letters
HAS_MEMBERS = errors.UnknownMemberIdError, errors.IllegalGenerationError
ANOTHER_TOPIC = (
    "the topic %s was replaced: the offset of the group in partition %s is %s, and it ends at"
    " %s; all of its messages are taken, from the first one on"
)
DELETED = (
    "%s messages of the topic %s were deleted before this program has taken them: partition %s,"
    " from offset %s on; nothing was consumed for longer than the topic's retention"
)


class KafkaConnection(AIOKafkaProducer):  # type: ignore[misc]
    """A connection for publishing; the library restores lost connections."""

    loss: BaseException | None = None

    def __init__(self, cluster: KafkaCluster, channels: Channels, **options: Any) -> None:
        super().__init__(bootstrap_servers=cluster.servers, **cluster.login, **options)
        self._cluster, self._channels = cluster, channels

    async def start(self) -> None:
        """Open it."""
        await start(super().start, self._cluster)

    async def close(self) -> None:
        """Send what is on its way, and close it: also when nobody waits for that any longer."""
        await to_its_end(self.stop)

    async def publish(self, envelope: Envelope) -> None:
        """Send an event."""
        await self.send_and_wait(
            self._channels.events,
            to_cloud_event(envelope),
            key=(envelope.key or envelope.subject).encode(),
            headers=_headers(envelope.context.traceparent),
        )

    async def send_command(self, command: OutgoingCommand) -> None:
        """Send a command. Its topic has to exist, or be created by the broker when asked for."""
        try:
            with anyio.fail_after(TOPIC_SECONDS):
                await self.partitions_for(command.to)
        except errors.InvalidTopicError as error:
            raise MessageRefusedError("Kafka", describe(error)) from error
        except (
            TimeoutError,
            errors.UnknownTopicOrPartitionError,
            errors.TopicAuthorizationFailedError,
        ) as error:
            problem = f"there is no topic {command.to}, or no server knows where it is"
            raise TargetMissing("Kafka", problem) from error
        headers = _headers(command.traceparent, command.correlation_id)
        await self.send_and_wait(command.to, command.body, headers=headers)

    async def dead_letter(self, dead: ReceivedMessage, to: str) -> None:
        """Send a dead message."""
        headers = [
            (name, value.encode() if isinstance(value, str) else value)
            for name, value in dead.headers.items()
        ]
        await self.send_and_wait(to, dead.body, headers=headers, **dead.properties)


class Kafka(base.Broker):
    """Publishes with `acks=all`; the event's key decides about its partition."""

    kind = "Kafka"
    refusals = (
        errors.MessageSizeTooLargeError,
        errors.RecordListTooLargeError,
        errors.InvalidMessageError,
    )
    rejections = ()  # it has no queues that could be full: a time-out is an outage

    def __init__(self, cluster: KafkaCluster, channels: Channels) -> None:
        super().__init__(channels)
        self._cluster = cluster

    def feeds(self, inlet: Inlet) -> bool:
        return inlet.topic is not None

    @asynccontextmanager
    async def consume(
        self, inlet: Inlet, prefetch: int, report: base.Report
    ) -> AsyncIterator[AsyncIterator[ReceivedMessage]]:
        limit_decompression()
        await self._ensure_topics(inlet)
        await self._ensure_position(inlet)
        report(None)
        consumer = AIOKafkaConsumer(
            inlet.topic,
            bootstrap_servers=self._cluster.servers,
            **self._cluster.login,
            group_id=inlet.group,
            auto_offset_reset="earliest",  # of partitions that are new, or were replaced
            enable_auto_commit=False,
            max_partition_fetch_bytes=MAX_MESSAGE_BYTES,
        )
        try:
            await start(consumer.start, self._cluster)
            yield _one_by_one(consumer)
        finally:
            await stop_consumer(consumer)

    async def _ensure_position(self, inlet: Inlet) -> None:
        """Store where a group begins, before it joins; and tell of what it has not had, or again.

        A group without a stored position would begin at `start` again whenever it joins, so that
        what comes in a pause before its first message would be passed over. All partitions are
        stored at once: a partition that is added later begins at its first message.
        """
        at = AIOKafkaConsumer(
            bootstrap_servers=self._cluster.servers,
            **self._cluster.login,
            group_id=inlet.group,
            enable_auto_commit=False,
        )
        try:
            await start(at.start, self._cluster)
            if not (numbers := await _partitions(at, inlet.topic)):
                return  # our own topic, which the broker creates when its messages are asked for
            places = [TopicPartition(inlet.topic, n) for n in numbers]
            at.assign(places)
            begins, ends = await at.beginning_offsets(places), await at.end_offsets(places)
            stored = {place: await at.committed(place) for place in places}
            is_new = {*stored.values()} == {None}
            begin = dict(ends) if is_new and inlet.start == "latest" else {}
            for place, offset in stored.items():
                if offset is not None and offset > ends[place]:
                    logger.warning(ANOTHER_TOPIC, inlet.topic, place.partition, offset, ends[place])
                    begin[place] = begins[place]
                elif offset is not None and offset < begins[place]:
                    gone = begins[place] - offset
                    logger.error(DELETED, gone, inlet.topic, place.partition, offset)
                    begin[place] = begins[place]
            if begin:
                with suppress(*HAS_MEMBERS):  # another process has been faster
                    await at.commit(begin)
        finally:
            await stop_consumer(at)

    async def _ensure_topics(self, inlet: Inlet) -> None:
        """Create the topic for dead letters if it is missing, with as many replicas as the other.

        Where brokers do not create topics themselves, the first dead message would otherwise block
        all messages behind it. Another service's topic is only looked for, because asking for its
        messages could create it.

        :raises SourceMissing: if the topic does not exist
        :raises MissingTopic: if the topic for dead letters can neither be found nor created
        """
        limit, wanted = base.CONNECT_TIMEOUT * 1000, inlet.dead_letters
        admin = AIOKafkaAdminClient(
            bootstrap_servers=self._cluster.servers,
            **self._cluster.login,
            request_timeout_ms=limit,
        )
        try:
            await start(admin.start, self._cluster)
            topics = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
            if inlet.topic not in topics and inlet.topic != self.channels.commands:
                raise SourceMissing(self.kind, f"the topic {inlet.topic} does not exist")
            if wanted in topics:
                return
            partitions = topics.get(inlet.topic, ())
            copies = max((len(each["replicas"]) for each in partitions), default=1)
            created = await admin.create_topics([NewTopic(wanted, 1, copies)])
        finally:
            await base.close_best_effort(admin.close)
        ((_, code, *reason),) = created.topic_errors
        if code not in (0, errors.TopicAlreadyExistsError.errno):
            raise MissingTopic(
                self.kind,
                f"the topic {wanted} does not exist and cannot be created"
                f" ({errors.for_code(code)(*reason)}): create it; until then, nothing is consumed",
            )

    def new_connection(self) -> KafkaConnection:
        return KafkaConnection(
            self._cluster,
            self.channels,
            acks="all",
            request_timeout_ms=base.CONFIRM_TIMEOUT * 1000,
            max_request_size=MAX_MESSAGE_BYTES,
        )


async def _partitions(client: AIOKafkaConsumer, topic: str | None) -> Collection[int]:
    """Return the numbers of a topic's partitions, after asking the servers for them."""
    with anyio.move_on_after(TOPIC_SECONDS):
        while not (found := client.partitions_for_topic(topic)):
            await client.topics()
        return sorted(found)
    return ()


def _headers(
    traceparent: str | None, correlation_id: str | None = None
) -> Sequence[tuple[str, bytes]]:
    headers = {
        "content-type": CONTENT_TYPE,
        "traceparent": traceparent,
        "correlation-id": correlation_id,
    }
    return [(name, value.encode()) for name, value in headers.items() if value]


async def _one_by_one(consumer: AIOKafkaConsumer) -> AsyncIterator[ReceivedMessage]:
    """Fetch a message after the one before: acknowledging an offset acknowledges all before."""
    while True:
        for message in await _next(consumer):
            done = anyio.Event()
            yield replace(message, ack=partial(_acknowledge, consumer, done))
            await done.wait()


async def _next(consumer: AIOKafkaConsumer) -> Sequence[ReceivedMessage]:
    """Return the next message; or, if it cannot be decoded, what is known of it.

    The library raises without naming the partition, once for each fetch. So the partitions are
    asked one by one until one answers; by then, one may have another message.
    """
    with suppress(*UNDECODABLE):
        return [_to_received(await consumer.getone())]
    found: Sequence[ReceivedMessage] = []
    while not found and (partitions := [*consumer.assignment()]):
        found = await _ask(consumer, choice(partitions))
    return found


async def _ask(consumer: AIOKafkaConsumer, partition: Any) -> Sequence[ReceivedMessage]:
    """Return a partition's next message, or the place of a skipped one; None if it has neither."""
    try:
        with anyio.move_on_after(PROBE_SECONDS):
            return [_to_received(await consumer.getone(partition))]
    except UNDECODABLE as error:
        offset = await consumer.position(partition)
        consumer.seek(partition, offset + 1)
        place = f"partition {partition.partition}, offset {offset}: {describe(error)}"
        return [ReceivedMessage(body=b"", headers={"undecodable": place}, undecodable=place)]
    return []


def _to_received(record: Any) -> ReceivedMessage:
    return ReceivedMessage(
        body=record.value or b"",
        headers=dict(record.headers),
        properties={"key": record.key},
        key=None if record.key is None else record.key.decode(errors="replace"),
        # the time tells it from the message in this place of a topic that this one has replaced
        place=f"{record.topic}-{record.partition}-{record.offset}-{record.timestamp}",
    )


async def _acknowledge(consumer: AIOKafkaConsumer, done: anyio.Event) -> None:
    try:
        await consumer.commit()
    finally:
        done.set()
