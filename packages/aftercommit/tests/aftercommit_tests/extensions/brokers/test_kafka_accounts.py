"""Kafka as it is in production: it asks who is there, and what is said is encrypted."""

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from anyio import fail_after, to_thread
from anyio.pytest_plugin import FreePortFactory

from aftercommit_tests.builders import a_message, an_envelope
from aftercommit_tests.extensions.brokers.fixtures import tansu
from aftercommit_tests.extensions.brokers.kafka_door import kafka_door
from aftercommit_tests.extensions.brokers.outside import KafkaOutside
from aftercommit_tests.extensions.brokers.test_bad_messages import NO_JSON
from aftercommit_tests.inside.brokers import Channels, new_brokers
from aftercommit_tests.inside.errors import BrokerUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.check]

THINGS = Channels("things")
USER, PASSWORD = "iván", "hunter2:@/"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"
ACCOUNT = {"sasl.username": USER, "sasl.password": PASSWORD}


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: who is trusted, and a client with its key; and what the server has."""

    authority: Path
    client: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority of the test's own, and a server that lets in only whom it has certified."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    found = Certificates(
        authority=folder / "ca.pem",
        client=folder / "client.pem",
        server=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    client = authority.issue_cert("client")
    authority.cert_pem.write_to_path(str(found.authority))
    client.private_key_and_cert_chain_pem.write_to_path(str(found.client))
    authority.issue_cert("127.0.0.1").configure_cert(found.server)
    authority.configure_trust(found.server)
    found.server.verify_mode = ssl.CERT_REQUIRED
    return found


@pytest.fixture
def guarded(
    request: pytest.FixtureRequest,
    certificates: Certificates,
    free_tcp_port_factory: FreePortFactory,
) -> "Iterator[KafkaOutside]":
    """A broker that asks for an account, for a certificate, or for both."""
    mechanism, encrypted = request.param
    behind, port = free_tcp_port_factory(), free_tcp_port_factory()
    parameters: list[str] = []
    account: dict[str, str] = {}
    if encrypted:
        parameters += [f"cafile={certificates.authority}", f"certfile={certificates.client}"]
        account |= {
            "ssl.ca.location": str(certificates.authority),
            "ssl.certificate.location": str(certificates.client),
            "ssl.key.location": str(certificates.client),
        }
    if mechanism:
        parameters += [f"sasl_mechanism={mechanism}"]
        account |= {"sasl.mechanism": mechanism, "sasl.username": USER, "sasl.password": PASSWORD}
    account["security.protocol"] = ("SASL_" if mechanism else "") + (
        "SSL" if encrypted else "PLAINTEXT"
    )
    scheme, login = "kafkas" if encrypted else "kafka", LOGIN if mechanism else ""
    url = f"{scheme}://{login}127.0.0.1:{port}?{'&'.join(parameters)}"
    known = (mechanism, USER, PASSWORD) if mechanism else None
    tls = certificates.server if encrypted else None
    with (
        kafka_door(behind, port=port, tls=tls, account=known),
        tansu(behind, advertised=port, url=url, account=account) as kafka,
    ):
        yield kafka


SCRAM_256, SCRAM_512, PLAIN = "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"
GUARDS = [(None, True), (SCRAM_256, False), (SCRAM_512, False), (SCRAM_512, True), (PLAIN, True)]


@pytest.mark.parametrize("guarded", GUARDS, indirect=True, ids=lambda guard: str(guard))
async def test_messages_go_both_ways_where_not_everybody_is_let_in(guarded: KafkaOutside) -> None:
    """Events, commands and dead letters: each has a connection of its own.

    The user and the password have characters that a URL cannot hold as they are.
    """
    command = a_message()
    (broker,) = new_brokers([guarded.url], THINGS).values()
    await broker.publish(an_envelope())
    await to_thread.run_sync(guarded.events, bool)
    await to_thread.run_sync(guarded.send, command)
    with fail_after(60):
        async with broker.consume(broker.channels.inlet, 1, print) as messages:
            found = await anext(messages)
            await broker.dead_letter(found, NO_JSON, broker.channels.dead_letters)
            await found.ack()
    await broker.close()

    (dead,) = await to_thread.run_sync(guarded.dead, 1)
    assert dead.body == command


@pytest.mark.parametrize(
    ("guarded", "change", "told"),
    [
        ((SCRAM_512, False), ("hunter2", "hunter3"), "Authentication failed"),
        ((PLAIN, True), ("hunter2", "hunter3"), "Authentication failed"),
        ((SCRAM_512, False), ("SHA-512", "SHA-256"), "UnsupportedSaslMechanism"),
        ((None, True), ("cafile={0.authority}&", ""), "certificate verify failed"),
        ((None, True), ("&certfile={0.client}", ""), "closed|reset|certificate required"),
        ((None, True), ("kafkas://(.*)[?].*", r"kafka://\1"), "closed|reset"),
    ],
    indirect=["guarded"],
    ids=["scram", "plain", "mechanism", "unknown authority", "no certificate", "no TLS"],
)
async def test_why_nobody_is_let_in_is_told_in_words(
    guarded: KafkaOutside, certificates: Certificates, change: tuple[str, str], told: str
) -> None:
    """The library tells only that it reached no server; and no message has the password."""
    url = re.sub(change[0].format(certificates), change[1], guarded.url)

    assert re.search(told, await refusal(url))


@pytest.fixture
def without_users(free_tcp_port: int) -> "Iterator[str]":
    """The URL of a broker that lets nobody in."""
    with tansu(free_tcp_port, "--authentication", topics=()):
        yield f"kafka://{LOGIN}127.0.0.1:{free_tcp_port}"


async def test_a_login_that_ends_as_the_standard_says_is_told_in_words(without_users: str) -> None:
    """By "e=…" of RFC 5802, which the library does not know."""
    assert "it refuses the user or the password in the URL" in await refusal(without_users)


async def refusal(url: str) -> str:
    """Return why a broker cannot be used, which publishing and consuming both tell."""
    (broker,) = new_brokers([url], THINGS).values()
    with pytest.raises(BrokerUnavailable) as unpublished:
        await broker.connect()
    with pytest.raises(ConnectionError) as unconsumed:
        async with broker.consume(broker.channels.inlet, 1, print):
            pass
    await broker.close()
    assert "hunter" not in f"{unpublished.value} {unconsumed.value}"
    return str(unpublished.value)
