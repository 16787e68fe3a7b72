"""Measures the relay to RabbitMQ: events a second, from the outbox in PostgreSQL to the broker.

Each is published by its own delivery, and confirmed. The limit is aio-pika alone, which publishes
the same messages in batches of 100, and waits for the confirms of a batch, without a database.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import anyio
from aftercommit import PUBLISH
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.settings import BrokerSettings
from aio_pika.abc import AbstractExchange
from anyio import create_task_group

from allocation.domain.events import UserRegistered
from benchmarks.due_jobs import EVENT, filled, make_due, rate_by_the_database
from benchmarks.measured_application import handled_by, settings_for
from benchmarks.measuring import Contest, Effort, Unavailable, Way
from benchmarks.worker import work

URL = os.environ.get("ALLOCATION_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
RABBITMQ_LOCK = Path("/tmp/allocation-tests-rabbitmq.lock")  # a lock for which tests wait, too
HANDLER = "publish_event_to_rabbitmq"
HANDS = BATCH = 100


@contextmanager
def rabbitmq() -> Iterator[None]:
    """Use RabbitMQ alone: tests wait meanwhile.

    :raises Unavailable: if it is not running
    """
    parts = urlsplit(URL)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 5672), timeout=5).close()
    except OSError:
        raise Unavailable("no RabbitMQ listens; ALLOCATION_TEST_AMQP_URL names one") from None
    with RABBITMQ_LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ours(events: int) -> float:
    """Measure the worker, by the clock of the database."""
    database = filled(make_due, events, HANDLER)
    with rabbitmq(), database as url, handled_by({UserRegistered: [PUBLISH]}):
        return anyio.run(_ours, url, events)


async def _ours(url: str, events: int) -> float:
    of_brokers = BrokerSettings(broker_urls=URL)
    of_worker = {"dispatch": "worker", "worker_concurrency": HANDS}
    settings = settings_for(url, of_extensions=(of_brokers,), **of_worker)
    async with work(settings):
        return await rate_by_the_database(url, events)


def raw(events: int) -> float:
    """Measure aio-pika."""
    with rabbitmq():
        return anyio.run(_raw, events)


async def _raw(events: int) -> float:
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=True)
        exchange = await channel.declare_exchange(
            Channels("allocation").events, aio_pika.ExchangeType.TOPIC, durable=True
        )
        started = time.perf_counter()
        for _ in range(0, events, BATCH):
            async with create_task_group() as group:
                for _ in range(BATCH):
                    group.start_soon(_publish, exchange)
        return events / (time.perf_counter() - started)


async def _publish(exchange: AbstractExchange) -> None:
    message = aio_pika.Message(
        EVENT.encode(),
        content_type="application/json",
        message_id=str(uuid4()),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await exchange.publish(message, "user_registered", mandatory=False)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    events = effort.pick(1_000, 4_000)
    with rabbitmq():
        pass
    yield Contest(
        what=f"{events:,} events, {HANDS} at a time",
        unit="events/s",
        ours=partial(ours, events),
        ways=[Way(name="aio-pika", once=partial(raw, events), is_limit=True)],
    )
