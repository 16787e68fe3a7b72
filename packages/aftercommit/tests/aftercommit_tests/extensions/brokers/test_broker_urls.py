"""Which brokers there are: what URLs are usable, what is refused at start, and in which words."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from aftercommit import InvalidValue
from anyio import fail_after, to_thread
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from aftercommit_tests.builders import a_message, an_envelope
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.extensions.brokers.fixtures import address_of
from aftercommit_tests.extensions.brokers.outside import RabbitOutside
from aftercommit_tests.inside.brokers import Channels, KafkaCluster, new_brokers, publishing
from aftercommit_tests.inside.errors import BrokerUnavailable
from aftercommit_tests.inside.settings import BrokerSettings
from aftercommit_tests.processes import LIMIT_SECONDS
from aftercommit_tests.things.app import APP, Settings

pytestmark = pytest.mark.anyio

THINGS = Channels("things")
PORTS = "with ports from 1 to 65535"
ESCAPED = "with %, /, ? and # in a name as % and two hexadecimal digits of their UTF-8"


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ("nats://localhost", "is not of the form amqp://… or kafka://host:port,host:port"),
        ("amqp:/ivan:hunter2@localhost", "is not of the form amqp://…"),
        ("amqp://x amqp:/y", "is not of the form amqp://…"),
        ("amqp://", "is not of the form amqp://user:password@host:port,host:port/vhost"),
        (
            "amqp://ivan:hunter2@",
            "is not of the form amqp://user:password@host:port,host:port/vhost",
        ),
        (
            "amqp://ivan:hunter2@[host/",
            "is not of the form amqp://user:password@host:port,host:port/vhost",
        ),
        ("amqp://ivan:hunter2@host:0/", PORTS),
        ("amqp://ivan:hunter2@host:65536/", PORTS),
        ("amqp://ivan:hunter2@host:x/", PORTS),
        ("amqp://ivan:hunter2@host/a/b", ESCAPED),
        ("amqp://ivan:hunter2%zz@host/", ESCAPED),
        ("amqp://ivan:hunter2%ff@host/", ESCAPED),
        ("amqp://host/a%00", ESCAPED),
        ("kafka://localhost", "is not of the form kafka://host:port,host:port"),
        ("kafka://a:1,b:0", "with ports from 1 to 65535"),
        ("kafka://a:65536", "with ports from 1 to 65535"),
        ("kafka://ivan:hunter2@", "is not of the form kafka://"),
        ("kafka://hunter2@h:1", "is not of the form kafka://"),
        ("kafka://ivan:@h:1", "is not of the form kafka://"),
        ("kafka://ivan:hun@ter2@h:1", "and @ in a name or password as %"),
        ("kafka://ivan:hun:ter2@h:1", "and @ in a name or password as %"),
        ("kafka://ivan:hunter2%ff@h:1", "and @ in a name or password as %"),
        ("kafka://ivan:hunter2%00@h:1", "and @ in a name or password as %"),
        ("kafkas://ivan:hunter2@h:1/topic", "is not of the form kafka://"),
        ("kafkas://ivan:hunter2@h:1?sasl_mechanism=GSSAPI", "is not one of SCRAM-SHA-512"),
        ("kafkas://h:1?sasl_mechanism=PLAIN", "but no user and password"),
        ("kafka://ivan:hunter2@h:1?sasl_mechanism=PLAIN", "would send the password in clear"),
        ("kafka://h:1?cafile=hunter2", "without TLS: use kafkas://"),
        ("kafkas://h:1?password=hunter2", "has other parameters than sasl_mechanism, cafile"),
        ("kafkas://h:1?cafile=a&cafile=hunter2", "or one of them twice or empty"),
        ("kafkas://h:1?cafile=", "or one of them twice or empty"),
        ("kafkas://h:1?keyfile=hunter2", "names a keyfile without a certfile"),
        ("kafkas://h:1?cafile=hunter2", "names a cafile that cannot be used: No such file"),
        ("amqps://h?cafile=hunter2", "names a cafile that cannot be used: No such file"),
        (f"kafkas://h:1?certfile={__file__}", "names a certfile that cannot be used: "),
        (
            "amqp://ivan:hunter2@h,",
            "is not of the form amqp://user:password@host:port,host:port/vhost",
        ),
        ("amqp://ivan:hunter2@h:1,k:0", PORTS),
    ],
)
async def test_an_unusable_url_is_refused(urls: str, reason: str) -> None:
    """At start, with what is wrong, and without repeating it: it may hold a password."""
    settings = Settings(of_extensions=(BrokerSettings(broker_urls=urls),))
    with pytest.raises(InvalidValue) as refusal:
        async with publishing(settings):
            pass

    assert str(refusal.value).startswith("broker URL ")
    assert reason in str(refusal.value)
    assert "hunter2" not in f"{refusal.value}{settings!r}"


@pytest.mark.parametrize(
    "url",
    [
        "amqp://h",
        "amqps://u:p%40ss@h.example:1/",
        "amqp://[::1]:5672,h,k:1/a%2Fb?heartbeat=5",
        "kafka://h:1,[::1]:9092",
        "kafka://u:p%40ss@h:1?sasl_mechanism=SCRAM-SHA-256",
        "kafkas://u:p+ss@h.example:1,k:2",
        "kafkas://u:p%3Ass@h:1?sasl_mechanism=PLAIN",
    ],
)
async def test_a_usable_url_is_accepted(url: str) -> None:
    """With or without what may be absent."""
    kind = "rabbitmq" if url.startswith("amqp") else "kafka"

    assert list(new_brokers([url], THINGS)) == [kind]


def test_the_password_of_kafka_shows_nowhere() -> None:
    """What an object is printed with ends up in logs."""
    assert "hunter2" not in repr(KafkaCluster.from_url("kafka://ivan:hunter2@h:1"))


@pytest.mark.check
async def test_the_next_server_of_rabbitmq_is_used_if_one_is_down(
    rabbitmq: RabbitOutside, free_tcp_port: int
) -> None:
    """A cluster outlives a server; a list of servers is how clients find the others."""
    host, port = address_of(rabbitmq.url)
    url = rabbitmq.url.replace(f"{host}:{port}", f"127.0.0.1:{free_tcp_port},{host}:{port}")
    (broker,) = new_brokers([url], THINGS).values()
    await to_thread.run_sync(rabbitmq.send, a_message())

    await broker.publish(an_envelope())
    with fail_after(LIMIT_SECONDS):
        async with broker.consume(broker.channels.inlet, 1, print) as messages:
            await (await anext(messages)).ack()
    await broker.close()

    await to_thread.run_sync(rabbitmq.events, bool)


@pytest.mark.check
async def test_why_each_server_of_rabbitmq_refuses_is_told(
    rabbitmq_url: str, free_tcp_port: int
) -> None:
    """One that is down would hide a wrong password otherwise."""
    host, port = address_of(rabbitmq_url)
    down = f"127.0.0.1:{free_tcp_port}"
    (broker,) = new_brokers([f"amqp://guest:hunter2@{down},{host}:{port}/"], THINGS).values()

    with pytest.raises(BrokerUnavailable) as refusal:
        await broker.publish(an_envelope())

    assert f"{down}: " in str(refusal.value)
    assert "Login was refused" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    """OpenSSL would ask the terminal for its password, and wait."""
    file = tmp_path / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2")
    )
    file.write_bytes(sealed + trustme.CA().cert_pem.bytes())

    with pytest.raises(InvalidValue, match="names an encrypted key"):
        new_brokers([f"kafkas://h:1?certfile={file}"], THINGS)


@pytest.mark.check
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"netloc": "guest:wrong@{host}"}, "Login was refused"),
        ({"path": "/there-is-none"}, "it refuses the virtual host in the URL"),
    ],
)
async def test_a_wrong_password_or_vhost_is_told_in_words(
    rabbitmq_url: str, change: dict[str, str], told: str
) -> None:
    """They are the mistakes that are made."""
    parts = urlsplit(rabbitmq_url)
    host = f"{parts.hostname}:{parts.port or 5672}"
    url = parts._replace(**{name: text.format(host=host) for name, text in change.items()})
    (broker,) = new_brokers([url.geturl()], THINGS).values()

    with pytest.raises(BrokerUnavailable, match=told):
        await broker.publish(an_envelope())


def test_the_settings_are_read_with_the_others() -> None:
    """Several URLs are separated by spaces."""
    settings = APP.load({"broker_urls": "amqp://h kafka://k:9092", "prefetch": 5})

    assert settings.of(BrokerSettings).urls == ["amqp://h", "kafka://k:9092"]
    assert settings.of(BrokerSettings).prefetch == 5
    assert APP.load({}).of(BrokerSettings).urls == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("--broker-urls nats://x worker", "error: broker URL"),
        ("consume", "error: THINGS_BROKER_URLS is not set, so there is no broker to consume from"),
        ("run", "error: THINGS_BROKER_URLS is not set, so there is no broker to consume from"),
        ("--event-loop trio --broker-urls amqp://x worker", "works only on the event loop asyncio"),
    ],
)
def test_what_cannot_run_is_exit_code_2(
    command_line: CommandLine, command: str, complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    command_line.refuses(*command.split(), complaint=complaint)
