"""Makes the brokers that the URLs name. A library is imported when a URL needs it.

A wrong URL is refused at start, not when the first event is published. Errors never quote a URL: it
may contain a password.
"""

import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio

from aftercommit.errors import install_hint
from aftercommit.extensions.brokers.base import Broker
from aftercommit.extensions.brokers.certificates import FILES, invalid_url, tls_context
from aftercommit.extensions.brokers.channel_names import Channels
from aftercommit.extensions.brokers.kafka_url import KafkaCluster
from aftercommit.extensions.brokers.settings import BrokerSettings
from aftercommit.settings import EngineSettings

CHATTY_LIBRARIES = ("aio_pika", "aiokafka", "aiormq")  # they log what they raise or repair

_TEXT = r"(?:[^%/?#]|%[\da-fA-F]{2})*"
_HOST = r"(?:[\w.-]+|\[[\da-fA-F:.]+\])(?::\d+)?"
_AMQP = re.compile(rf"(amqps?://(?:{_TEXT}@)?)({_HOST}(?:,{_HOST})*)((?:/{_TEXT})?(?:\?{_TEXT})?)")


@asynccontextmanager
async def publishing(settings: EngineSettings) -> AsyncIterator[Mapping[str, Broker]]:
    """Make the brokers, by name; close them all at the end, concurrently, as each may be slow.

    :raises InvalidValue: if a URL is wrong, or if the event loop is not asyncio
    """
    urls, event_loop = settings.of(BrokerSettings).urls, settings.event_loop
    if urls and event_loop != "asyncio":
        raise settings.refused(
            "broker_urls", f"works only on the event loop asyncio, not on {event_loop}"
        )
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

    :raises InvalidValue: if a URL is wrong
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
            urls = _amqp_urls(url)
            from aftercommit.extensions.brokers.rabbitmq import RabbitMQ

            return RabbitMQ(urls, channels)
        if url.startswith(("kafka://", "kafkas://")):
            cluster = KafkaCluster.from_url(url)
            from aftercommit.extensions.brokers.kafka import Kafka

            return Kafka(cluster, channels)
    except ModuleNotFoundError as error:
        raise invalid_url(f"needs {error.name}; {install_hint('brokers')}") from None
    raise invalid_url("is not of the form amqp://… or kafka://host:port,host:port")


def _amqp_urls(url: str) -> list[str]:
    """Return a URL for each host; they differ only in the host."""
    urls: list[str] = []
    with suppress(ValueError):  # invalid UTF-8, or a port that is too high
        if unquote(url, errors="strict").isprintable() and (found := _AMQP.fullmatch(url)):
            before, servers, after = found.groups()
            each = [f"{before}{server}{after}" for server in servers.split(",")]
            urls = each if all(urlsplit(one).port != 0 for one in each) else []
    if urls:
        _require_usable_files(urls[0])
        return urls
    raise invalid_url(
        "is not of the form amqp://user:password@host:port,host:port/vhost, with ports from 1 to"
        " 65535, and with %, /, ? and # in a name as % and two hexadecimal digits of their UTF-8"
    )


def _require_usable_files(url: str) -> None:
    """Refuse now the files that the library would refuse at each connection."""
    scheme, _, _, query, _ = urlsplit(url)
    if scheme == "amqps":
        given = dict(parse_qsl(query))
        tls_context({name: given[name] for name in FILES if name in given})
