"""Makes the brokers that the URLs name. Their libraries are imported when a URL asks for one.

A wrong URL is refused at start, not when the first event waits. No text of it is ever
repeated: it may hold a password.
"""

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote, urlsplit

import anyio

from aftercommit.errors import InvalidValue, install_hint
from aftercommit.extensions.brokers.base import Broker
from aftercommit.extensions.brokers.channels import Channels
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.settings import EngineSettings

CHATTY_LIBRARIES = ("aio_pika", "aiokafka", "aiormq")  # they log what they raise, or fix

_TEXT = r"(?:[^%/?#]|%[\da-fA-F]{2})*"
_AMQP = re.compile(
    rf"amqps?://({_TEXT}@)?([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?(/{_TEXT})?(\?{_TEXT})?"
)
_SERVER = re.compile(r"[\w.-]+:\d+")


@asynccontextmanager
async def publishing(settings: EngineSettings) -> AsyncIterator[Mapping[str, Broker]]:
    """Make the brokers, by name, and close them at the end, all at once: each may be slow.

    :raises InvalidValue: if a URL is not acceptable, or there is one on a foreign event loop
    """
    urls, event_loop = settings.of(BrokerSettings).urls, settings.event_loop
    if urls and event_loop != "asyncio":
        raise settings.refused("broker_urls", f"needs the event loop asyncio, not {event_loop}")
    for library in CHATTY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    brokers = new_brokers(urls, Channels(settings.application))
    try:
        yield brokers
    finally:
        async with anyio.create_task_group() as group:
            for broker in brokers.values():
                group.start_soon(broker.close)


def new_brokers(urls: Sequence[str], channels: Channels) -> dict[str, Broker]:
    """Return a broker for each URL, by name: `rabbitmq`, `kafka`, and `kafka_2` if there are two.

    :raises InvalidValue: if a URL is not acceptable
    """
    brokers: dict[str, Broker] = {}
    for url in urls:
        broker = _new_broker(url, channels)
        of_its_kind = sum(other.kind == broker.kind for other in brokers.values())
        name = broker.kind.lower()
        brokers[f"{name}_{of_its_kind + 1}" if of_its_kind else name] = broker
    return brokers


def _new_broker(url: str, channels: Channels) -> Broker:
    try:
        if url.startswith(("amqp://", "amqps://")):
            _require_amqp(url)
            from aftercommit.extensions.brokers.rabbitmq import RabbitMQ

            return RabbitMQ(url, channels)
        if url.startswith("kafka://"):
            servers = _kafka_servers(url)
            from aftercommit.extensions.brokers.kafka import Kafka

            return Kafka(servers, channels)
    except ModuleNotFoundError as error:
        raise _invalid(f"needs {error.name}; {install_hint('brokers')}") from None
    raise _invalid("is not of the form amqp://… or kafka://host:port,host:port")


def _require_amqp(url: str) -> None:
    with suppress(ValueError):  # of broken UTF-8, or a port that is too high
        is_text = unquote(url, errors="strict").isprintable()
        if is_text and _AMQP.fullmatch(url) and urlsplit(url).port != 0:
            return
    raise _invalid(
        "is not of the form amqp://user:password@host:port/vhost, with a port from 1 to 65535, and"
        " with %, /, ? and # in a name as % and two hexadecimal digits of their UTF-8"
    )


def _kafka_servers(url: str) -> list[str]:
    servers = url.removeprefix("kafka://").split(",")
    with suppress(ValueError):
        if all(_SERVER.fullmatch(each) and urlsplit(f"//{each}").port for each in servers):
            return servers
    raise _invalid("is not of the form kafka://host:port,host:port, with ports from 1 to 65535")


def _invalid(reason: str) -> InvalidValue:
    return InvalidValue("broker URL", reason)
