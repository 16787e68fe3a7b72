"""The world outside, through plain clients: aio-pika and confluent-kafka."""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest import mock
from uuid import uuid4

import aio_pika
from aio_pika import ExchangeType
from aio_pika.abc import AbstractRobustChannel
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pamqp import commands as spec
from pamqp import encode

from aftercommit_tests.extensions.brokers.fixtures import TOPICS
from aftercommit_tests.processes import LIMIT_SECONDS

T = TypeVar("T")

EVENTS, COMMANDS, DEAD = TOPICS
FULL = "things.full"
QUORUM_QUEUE: dict[str, str | int] = {  # as the published language describes it
    "x-queue-type": "quorum",
    "x-delivery-limit": 20,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
DEAD_LETTER_QUEUE: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
RABBITMQ_LOCK = Path("/tmp/allocation-tests-rabbitmq.lock")  # of all runs: each may have its TMPDIR
YEAR_55840 = b"T" + struct.pack(">Q", 1_700_000_000_000_000)  # AMQP counts seconds, not micro
PARTITIONS = 3  # of each topic
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@contextmanager
def rabbitmq_alone() -> Iterator[None]:
    """Wait until nobody else on this machine uses RabbitMQ: the names of queues are the same."""
    with RABBITMQ_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Seen:
    """A message as a plain client sees it; `key` is the routing key or the key."""

    body: bytes
    headers: Mapping[str, str]
    key: str
    content_type: str


@dataclass
class Outside(ABC):
    """What others do with a broker. All of it blocks."""

    url: str
    _events: list[Seen] = field(default_factory=list)
    kind: ClassVar[str]

    def events(self, enough: Callable[[Sequence[Seen]], bool]) -> list[Seen]:
        """Return the events published since this began, as soon as there are enough."""
        self._collect(EVENTS, self._events, enough)
        return self._events

    def dead(self, count: int, source: str = DEAD) -> list[Seen]:
        """Return so many dead commands, or dead messages of a subscription."""
        seen: list[Seen] = []
        self._collect(source, seen, lambda seen: len(seen) >= count)
        return seen

    def dead_of(self, bodies: Collection[bytes]) -> list[Seen]:
        """Return dead commands, as soon as each of these is among them: one may be there twice."""
        seen: list[Seen] = []
        self._collect(DEAD, seen, lambda seen: {each.body for each in seen} >= {*bodies})
        return seen

    @abstractmethod
    def send(self, *bodies: bytes, headers: Mapping[str, str | bytes] | None = None) -> None:
        """Send commands."""

    @abstractmethod
    def _collect(
        self, source: str, into: list[Seen], enough: Callable[[Sequence[Seen]], bool]
    ) -> None:
        """Add what comes to a list, until it is enough."""


@dataclass
class RabbitOutside(Outside):
    """RabbitMQ."""

    kind = "rabbitmq"
    _queue: str = field(default_factory=lambda: f"test.{uuid4().hex}")

    def begin(self) -> None:
        """Remove what others left, and bind a queue to the events."""
        for name in (COMMANDS, DEAD):
            self.delete_queue(name)
        self.bind(make=True)
        self.declare_as_described()

    def bind(self, *, make: bool = False) -> None:
        """Bind a queue to the events, whose exchange has to be there."""

        async def bind(channel: AbstractRobustChannel) -> None:
            passive = not make
            exchange = await channel.declare_exchange(
                EVENTS, ExchangeType.TOPIC, durable=True, passive=passive
            )
            queue = await channel.declare_queue(self._queue, arguments={"x-expires": 600_000})
            await queue.bind(exchange, "#")

        self._run(bind)

    def bind_full_queue(self, key: str = "#") -> None:
        """Bind a queue that takes no message: RabbitMQ refuses each event by a nack."""
        own: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}

        async def bind(channel: AbstractRobustChannel) -> None:
            queue = await channel.declare_queue(FULL, arguments=own)
            await queue.bind(await channel.get_exchange(EVENTS), key)

        self._run(bind)

    def delete_exchange(self) -> None:
        """Be the first on a new server."""
        self._run(lambda channel: channel.exchange_delete(EVENTS))

    def declare_as_described(self) -> None:
        """Make the queues, or find out that they are of another kind."""
        self.declare_queue(COMMANDS, **QUORUM_QUEUE)
        self.declare_queue(DEAD, **DEAD_LETTER_QUEUE)

    def end(self) -> None:
        """Leave nothing behind."""
        for name in (self._queue, COMMANDS, DEAD, FULL):
            self.delete_queue(name)
        self.delete_exchange()

    def send(self, *bodies: bytes, headers: Mapping[str, str | bytes] | None = None) -> None:
        texts = {  # the library cannot send bytes in a header
            name: value if isinstance(value, str) else value.decode("latin-1")
            for name, value in (headers or {}).items()
        }

        async def send(channel: AbstractRobustChannel) -> None:
            for body in bodies:
                message = aio_pika.Message(body, headers=dict(texts))
                await channel.default_exchange.publish(message, routing_key=COMMANDS)

        self._run(send)

    def declare_queue(self, name: str, **arguments: str | int) -> None:
        """Make a queue, or find out that it is of another kind."""
        own: dict[str, Any] = dict(arguments)
        self._run(lambda channel: channel.declare_queue(name, durable=True, arguments=own))

    def replace_queue(self, name: str, **arguments: str | int) -> None:
        """Do what others may have done: make a queue in their own way."""
        self.delete_queue(name)
        self.declare_queue(name, **arguments)

    def delete_queue(self, name: str) -> None:
        """Do what an operator may do by mistake, or before the first start."""
        self._run(lambda channel: channel.queue_delete(name))

    def replace_exchange(self) -> None:
        """Do what others may have done: make the exchange in their own way."""
        own: dict[str, Any] = {"alternate-exchange": "amq.fanout"}

        async def replace(channel: AbstractRobustChannel) -> None:
            await channel.exchange_delete(EVENTS)
            exchange = await channel.declare_exchange(
                EVENTS, ExchangeType.TOPIC, durable=True, arguments=own
            )
            await (await channel.get_queue(self._queue)).bind(exchange, "#")

        self._run(replace)

    def send_with_header(self, value: bytes) -> None:
        """Send a message with a header whose type and value are these bytes of AMQP."""

        async def send(channel: AbstractRobustChannel) -> None:
            plain = (await channel.get_underlay_channel()).basic_publish
            with mock.patch.object(encode, "encode_table_value", return_value=value):
                properties = spec.Basic.Properties(headers={"header": ""})
                await plain(b"not json", routing_key=COMMANDS, properties=properties)

        self._run(send)

    def look_at(self, name: str, times: int) -> None:
        """Take a message and put it back, again and again, as people do."""

        async def look(channel: AbstractRobustChannel) -> None:
            queue = await channel.get_queue(name)
            deadline = time.monotonic() + LIMIT_SECONDS
            left = times
            while left:
                assert time.monotonic() < deadline, f"nothing is in {name}"
                if message := await queue.get(fail=False):
                    await message.reject(requeue=True)
                    left -= 1
                else:
                    await asyncio.sleep(0.02)

        self._run(look)

    def count(self, name: str) -> int:
        """Return how many messages are ready in a queue."""
        return int(self._declared(name).message_count or 0)

    def consumers(self, name: str) -> int:
        """Return how many consumers a queue has."""
        return int(self._declared(name).consumer_count or 0)

    def _declared(self, name: str) -> spec.Queue.DeclareOk:
        async def declared(channel: AbstractRobustChannel) -> spec.Queue.DeclareOk:
            return (await channel.get_queue(name)).declaration_result

        return self._run(declared)

    def _collect(
        self, source: str, into: list[Seen], enough: Callable[[Sequence[Seen]], bool]
    ) -> None:
        async def collect(channel: AbstractRobustChannel) -> None:
            queue = await channel.get_queue(self._queue if source == EVENTS else source)
            deadline = time.monotonic() + LIMIT_SECONDS
            while not enough(into):
                assert time.monotonic() < deadline, f"only {len(into)} messages in {source}"
                message = await queue.get(fail=False, no_ack=True)
                if message is None:
                    await asyncio.sleep(0.02)
                    continue
                headers = {key: str(value) for key, value in message.headers.items()}
                key = str(message.routing_key)
                into.append(Seen(message.body, headers, key, str(message.content_type)))

        self._run(collect)

    def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with await aio_pika.connect(self.url) as connection:
                return await work(await connection.channel())

        return asyncio.run(connected())


UNDECODABLE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name(str):
    def encode(self, *args):
        return b"\\xff"

async def main(servers, topic):
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        headers = [(Name("name"), b"value")]
        await producer.send_and_wait(topic, b"{}", partition=0, headers=headers)

asyncio.run(main(*sys.argv[1:]))
"""
"""A program, since the library has two encoders, and one process only one of them."""


@dataclass
class KafkaOutside(Outside):
    """Kafka; `account` is what the plain clients have to know besides, `pid` a server of ours."""

    kind = "kafka"
    account: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def servers(self) -> str:
        """What clients of Kafka call bootstrap servers."""
        return self.url.partition("://")[2].rpartition("@")[2].partition("?")[0]

    @property
    def _settings(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.servers, **self.account}

    def begin(self, topics: Sequence[str]) -> None:
        """Create the topics, and begin where they end."""
        admin, known = AdminClient(self._settings), self.topics()
        missing = [NewTopic(name, PARTITIONS) for name in topics if name not in known]
        for created in (admin.create_topics(missing) if missing else {}).values():
            created.result()
        consumer = self._consumer()
        for name in {EVENTS, DEAD} & known:
            for n in range(PARTITIONS):
                _, end = consumer.get_watermark_offsets(TopicPartition(name, n))
                self._next[name, n] = end
        consumer.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server do nothing, as on a host that has no memory left; connections stay."""
        assert self.pid, "the server is not ours"
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def topics(self) -> set[str]:
        """Return the names of the topics."""
        admin = AdminClient(self._settings)
        return set(admin.list_topics(timeout=LIMIT_SECONDS).topics)

    def send(self, *bodies: bytes, headers: Mapping[str, str | bytes] | None = None) -> None:
        for codec in CODECS:  # each may be what a producer likes
            self.send_compressed(bodies[CODECS.index(codec) :: len(CODECS)], codec, headers)

    def send_compressed(
        self,
        bodies: Sequence[bytes],
        codec: str,
        headers: Mapping[str, str | bytes] | None = None,
    ) -> None:
        """Send commands as a producer does that compresses in this way."""
        settings = {"message.max.bytes": 100_000_000, "linger.ms": 0, "compression.type": codec}
        producer = Producer({**self._settings, **settings})
        for body in bodies:
            producer.produce(COMMANDS, body, headers=dict(headers or {}), partition=0)
        assert producer.flush(LIMIT_SECONDS) == 0

    def send_undecodable(self, *, topic: str = COMMANDS) -> None:
        """Send a command with a header whose name is no UTF-8."""
        subprocess.run(
            [sys.executable, "-c", UNDECODABLE, self.servers, topic],
            env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
            check=True,
            timeout=LIMIT_SECONDS,
        )

    def set_offset(self, group: str, topic: str, offset: int) -> None:
        """Store where a group without members goes on in the first partition of a topic."""
        consumer = Consumer({**self._settings, "group.id": group, "enable.auto.commit": False})
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
        consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **self._settings,
                "group.id": "test",  # never joined: the partitions are assigned
                "enable.auto.commit": False,
                "fetch.message.max.bytes": 20_000_000,
            }
        )

    def _collect(
        self, source: str, into: list[Seen], enough: Callable[[Sequence[Seen]], bool]
    ) -> None:
        topic = source
        consumer = self._consumer()
        partitions = range(PARTITIONS)
        starts = [TopicPartition(topic, n, self._next.get((topic, n), 0)) for n in partitions]
        consumer.assign(starts)
        deadline = time.monotonic() + LIMIT_SECONDS
        while not enough(into):
            assert time.monotonic() < deadline, f"only {len(into)} messages in {topic}"
            message = consumer.poll(0.1)
            if message is None or message.error():
                continue
            partition, offset = message.partition(), message.offset()
            self._next[topic, int(partition or 0)] = int(offset or 0) + 1
            headers = {
                name: value.decode(errors="replace") if isinstance(value, bytes) else str(value)
                for name, value in dict(message.headers() or []).items()
            }
            key = (message.key() or b"").decode()
            into.append(Seen(message.value() or b"", headers, key, headers.get("content-type", "")))
        consumer.close()
