"""Another team, which publishes in its own words, through clients of its own: pika and confluent's.

It knows nothing of us: it makes its exchange or topic, and publishes there.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pika  # type: ignore[import-untyped]
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pika.exceptions import ChannelClosedByBroker, UnroutableError  # type: ignore[import-untyped]

from aftercommit_tests.extensions.brokers.outside import KafkaOutside, Outside

EXCHANGE, TOPIC, KEY = "catalogue.events", "catalogue", "item.listed"
QUEUE, DEAD = "things.from.catalogue", "things.from.catalogue.dead"
OTHER_QUEUE = "things.from.other"  # of a second subscription to the same messages
LIMIT_SECONDS = 60
NOT_OURS = b'{"sku": "7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11", "title": "", "kind": "voucher"}'


class OtherTeam(Protocol):
    """What it does with a broker. All of it blocks."""

    def open_source(self) -> None:
        """Make the exchange or topic."""

    def publish(
        self, *bodies: bytes, key: str = KEY, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """Publish messages, and wait until the broker has confirmed them."""


@dataclass
class TeamOnRabbitMQ:
    """By a topic exchange."""

    url: str

    def open_source(self) -> None:
        with self.channel() as channel:
            channel.exchange_declare(EXCHANGE, "topic", durable=True)

    def close_source(self) -> None:
        """Remove the exchange, and with it all bindings."""
        with self.channel() as channel:
            channel.exchange_delete(EXCHANGE)

    def publish(
        self, *bodies: bytes, key: str = KEY, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        with self.channel() as channel:
            channel.confirm_delivery()  # so that a refusal is raised
            properties = pika.BasicProperties(headers=dict(headers or {}), **more)
            for body in bodies:
                channel.basic_publish(EXCHANGE, key, body, properties)

    def forget_us(self) -> None:
        """Remove what belongs to us, as our operator does when a subscription is gone."""
        with self.channel() as channel:
            for queue in (QUEUE, DEAD, OTHER_QUEUE, f"{OTHER_QUEUE}.dead"):
                channel.queue_delete(queue)

    def make_our_queue(self, **arguments: Any) -> None:
        """Do what an operator of ours may have done: make the queue in another way."""
        with self.channel() as channel:
            channel.queue_declare(QUEUE, durable=True, arguments=arguments)
            channel.queue_bind(QUEUE, EXCHANGE, KEY)

    def is_bound(self) -> bool:
        """Tell whether what is published now reaches a queue."""
        with self.channel() as channel:
            channel.confirm_delivery()
            try:
                channel.basic_publish(EXCHANGE, KEY, NOT_OURS, mandatory=True)
            except (UnroutableError, ChannelClosedByBroker):
                return False
        return True

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            connection.close()


@dataclass
class TeamOnKafka:
    """By a topic."""

    servers: str

    def open_source(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.servers})
        for made in admin.create_topics([NewTopic(TOPIC, 3)]).values():
            made.result()

    def make_anew(self) -> None:
        """Replace the topic by one of the same name."""
        admin = AdminClient({"bootstrap.servers": self.servers})
        for gone in admin.delete_topics([TOPIC]).values():
            gone.result()
        self.open_source()

    def publish(
        self, *bodies: bytes, key: str = KEY, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 0})
        for body in bodies:
            producer.produce(TOPIC, body, key=key, headers=dict(headers or {}), partition=0, **more)
        assert producer.flush(LIMIT_SECONDS) == 0


def team_at(outside: Outside) -> OtherTeam:
    """Return another team that publishes at this broker."""
    return (
        TeamOnKafka(outside.servers)
        if isinstance(outside, KafkaOutside)
        else TeamOnRabbitMQ(outside.url)
    )
