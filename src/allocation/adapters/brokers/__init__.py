"""The room "brokers", by FastStream: events go out, commands come in. RabbitMQ and Kafka.

Importing this package imports neither FastStream nor a broker: that takes a third of a second, and
waits until a URL asks for one.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from allocation.adapters.brokers.base import (
    COMMANDS,
    DEAD_COMMANDS,
    DELIVERY_LIMIT,
    EVENTS,
    Broker,
    Incoming,
)
from allocation.adapters.brokers.settings import BrokerSettings
from allocation.adapters.brokers.urls import kafka_servers, require_amqp
from allocation.domain.exceptions import InvalidValue

__all__ = [
    "COMMANDS",
    "DEAD_COMMANDS",
    "DELIVERY_LIMIT",
    "EVENTS",
    "Broker",
    "BrokerSettings",
    "Incoming",
    "new_brokers",
    "publishing",
]


@asynccontextmanager
async def publishing(
    settings: BrokerSettings, *, backend: str
) -> AsyncIterator[Mapping[str, Broker[Any]]]:
    """Make the brokers, by name, and close them at the end, all at once: each may be slow.

    :raises InvalidValue: if a URL is not acceptable, or there is one on a foreign event loop
    """
    if settings.urls and backend != "asyncio":
        raise InvalidValue("ALLOCATION_BROKER_URL", f"needs the event loop asyncio, not {backend}")
    brokers = new_brokers(settings.urls)
    try:
        yield brokers
    finally:
        async with anyio.create_task_group() as group:
            for broker in brokers.values():
                group.start_soon(broker.close)


def new_brokers(urls: Sequence[str]) -> dict[str, Broker[Any]]:
    """Return a broker for each URL, by name: `rabbitmq`, `kafka`, and `kafka_2` if there are two.

    :raises InvalidValue: if a URL is not acceptable; its text is not repeated, it may be a secret
    """
    brokers: dict[str, Broker[Any]] = {}
    for url in urls:
        broker = _new_broker(url)
        of_its_kind = sum(other.kind == broker.kind for other in brokers.values())
        name = broker.kind.lower()
        brokers[f"{name}_{of_its_kind + 1}" if of_its_kind else name] = broker
    return brokers


def _new_broker(url: str) -> Broker[Any]:
    scheme = url.partition("://")[0]
    try:
        if scheme in ("amqp", "amqps"):
            require_amqp(url)
            from allocation.adapters.brokers.rabbitmq import RabbitMQ

            return RabbitMQ(url)
        if scheme == "kafka":
            servers = kafka_servers(url)
            from allocation.adapters.brokers.kafka import Kafka

            return Kafka(servers)
    except ModuleNotFoundError as error:
        raise InvalidValue(
            "broker URL", f"needs {error.name}; install allocation[broker]"
        ) from None
    raise InvalidValue("broker URL", "is not of the form amqp://… or kafka://host:port,host:port")
