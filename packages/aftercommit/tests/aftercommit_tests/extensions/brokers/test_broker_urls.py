"""Which brokers there are: what URLs are usable, what is refused at start, and in which words."""

from urllib.parse import urlsplit

import pytest
from aftercommit.errors import InvalidValue
from aftercommit.extensions.brokers.broker_factory import new_brokers, publishing
from aftercommit.extensions.brokers.channels import Channels
from aftercommit.extensions.brokers.exceptions import BrokerUnavailable
from aftercommit.extensions.brokers.settings import BrokerSettings

from aftercommit_tests.builders import an_envelope
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.things.app import APP, Settings

pytestmark = pytest.mark.anyio

THINGS = Channels("things")
PORTS = "with a port from 1 to 65535"
ESCAPED = "with %, /, ? and # in a name as % and two hexadecimal digits of their UTF-8"


@pytest.mark.parametrize(
    ("urls", "reason"),
    [
        ("nats://localhost", "is not of the form amqp://… or kafka://host:port,host:port"),
        ("amqp:/ivan:hunter2@localhost", "is not of the form amqp://…"),
        ("amqp://x amqp:/y", "is not of the form amqp://…"),
        ("amqp://", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@[host/", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@host:0/", PORTS),
        ("amqp://ivan:hunter2@host:65536/", PORTS),
        ("amqp://ivan:hunter2@host:x/", PORTS),
        ("amqp://ivan:hunter2@host/a/b", ESCAPED),
        ("amqp://ivan:hunter2%zz@host/", ESCAPED),
        ("amqp://ivan:hunter2%ff@host/", ESCAPED),
        ("amqp://host/a%00", ESCAPED),
        ("kafka://localhost", "is not of the form kafka://host:port,host:port"),
        ("kafka://ivan:hunter2@localhost:9092", "is not of the form kafka://"),
        ("kafka://a:1,b:0", "with ports from 1 to 65535"),
        ("kafka://a:65536", "with ports from 1 to 65535"),
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
    ["amqp://h", "amqps://u:p%40ss@h.example:1/", "amqp://[::1]:5672/a%2Fb?heartbeat=5"],
)
async def test_a_usable_url_is_accepted(url: str) -> None:
    """With or without what may be absent."""
    assert list(new_brokers([url], THINGS)) == ["rabbitmq"]


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
        ("consume", "error: THINGS_BROKER_URLS is not set: there is nothing to consume"),
        ("run", "error: THINGS_BROKER_URLS is not set: there is nothing to consume"),
        ("--event-loop trio --broker-urls amqp://x worker", "needs the event loop asyncio"),
    ],
)
def test_what_cannot_run_is_exit_code_2(
    command_line: CommandLine, command: str, complaint: str
) -> None:
    """The message says what is wrong, and nothing is created."""
    command_line.refuses(*command.split(), complaint=complaint)
