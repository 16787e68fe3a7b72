"""Publishing to real brokers: what others read, and what happens when a broker is not there."""

import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import InvalidPayload, InvalidValue, MessageAlreadyHandled
from aftercommit.extensions.brokers.base import InboundMessage
from aftercommit.extensions.brokers.broker_factory import new_brokers
from aftercommit.extensions.brokers.channels import Channels
from aftercommit.extensions.brokers.cloud_events import MAX_BYTES
from aftercommit.extensions.brokers.exceptions import (
    BrokerUnavailable,
    ConfirmTimeoutError,
    MissingTopic,
    UndecodableMessage,
)
from aftercommit.extensions.brokers.settings import BrokerSettings
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.errors import TopicAuthorizationFailedError  # type: ignore[import-untyped]
from aiokafka.protocol.admin import (  # type: ignore[import-untyped]
    CreateTopicsResponse_v3 as CreateTopicsResponse,
)
from anyio import (
    create_memory_object_stream,
    create_task_group,
    fail_after,
    to_thread,
    wait_all_tasks_blocked,
)
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail
from tests.builders import (
    a_batch,
    a_registration,
    a_user_id,
    a_user_message,
    a_user_registered,
    an_envelope,
)
from tests.integration.extensions.brokers.fixtures import tansu
from tests.integration.extensions.brokers.outside import (
    COMMANDS,
    DEAD,
    EVENTS,
    KafkaOutside,
    Outside,
    RabbitOutside,
    Seen,
)
from tests.proxy import Proxy
from tests.worlds import sqlite_url

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CHANNELS = Channels(Settings.application)
AWAY = BrokerUnavailable, ConfirmTimeoutError  # as what it shows first, is up to the library
EACH_PROXIED = pytest.mark.parametrize("proxied", ["rabbitmq", "kafka"], indirect=True)


def settings(folder: Path, broker_urls: str, **others: Any) -> Settings:
    of_brokers = BrokerSettings(broker_urls=broker_urls)
    return Settings(database_url=sqlite_url(folder), of_extensions=(of_brokers,), **others)


def as_cloud_event(seen: Seen) -> BaseCloudEvent:
    """Read a message as the CloudEvents SDK does, with its way of recognizing structured ones."""
    headers = {"content-type": seen.content_type.encode()}
    return from_kafka_event(KafkaMessage(headers=headers, key=seen.key, value=seen.body))


def of_type(seen: Sequence[Seen], name: str) -> list[Seen]:
    return [message for message in seen if json.loads(message.body)["type"] == name]


async def test_a_public_event_arrives_as_a_cloud_event(tmp_path: Path, outside: Outside) -> None:
    """With all its attributes, so that others need nothing of ours to read it."""
    async with bootstrap(settings(tmp_path, outside.url)) as application:
        await application.bus.handle(a_batch())
        report = await application.bus.handle(a_registration(name="Иван"))
    assert report.failures == []

    seen = await to_thread.run_sync(outside.events, lambda seen: len(seen) >= 1)

    (message,) = seen  # the coupon is nobody's business
    registered = report.events[0]
    event = as_cloud_event(message)
    assert event.get_id() == str(registered.id)
    assert event.get_source() == "/allocation"
    assert event.get_type() == "user_registered"
    assert event.get_subject() == registered.subject
    assert event.get_time() == registered.time
    assert event.get_extension("correlationid") == str(registered.context.correlation_id)
    assert event.get_extension("causationid") == str(registered.context.causation_id)
    assert event.get_extension("schemaversion") == 2
    assert event.get_data() == {
        "user_id": registered.subject,
        "name": "Иван",
        "email": "ivan@example.com",
    }
    assert message.key == {"rabbitmq": "user_registered", "kafka": registered.subject}[outside.kind]


async def test_an_exchange_that_others_have_made_is_used_as_it_is(
    tmp_path: Path, rabbitmq: RabbitOutside
) -> None:
    """It may have an alternate exchange, on purpose: no event is refused for that."""
    await to_thread.run_sync(rabbitmq.replace_exchange)
    try:
        async with bootstrap(settings(tmp_path, rabbitmq.url)) as application:
            report = await application.bus.handle(a_registration())
        assert report.failures == []
        await to_thread.run_sync(rabbitmq.events, lambda seen: len(seen) >= 1)
    finally:
        await to_thread.run_sync(rabbitmq.delete_exchange)


@EACH_PROXIED
async def test_a_broker_that_is_down_delays_only_its_own_deliveries(
    tmp_path: Path, proxied: tuple[str, Proxy, Outside]
) -> None:
    """The command is accepted, everything else is done, and the event is published later."""
    url, proxy, outside = proxied
    async with bootstrap(
        settings(tmp_path, url, retry_initial_seconds=0.5, retry_factor=1.0, max_attempts=1000)
    ) as application:
        await application.bus.handle(a_registration(email="first@example.com"))
        proxy.cut()

        report = await application.bus.handle(a_registration(email="second@example.com"))

        handlers = {failure.delivery.handler for failure in report.failures}
        assert handlers == {f"publish_event_to_{outside.kind}"}
        assert all(isinstance(failure.error, AWAY) for failure in report.failures)
        proxy.open()
        handlers_here = list(application.bus.registry.events)
        while (pause := await application.bus.outbox.seconds_until_due(handlers_here)) is not None:
            await to_thread.run_sync(time.sleep, max(pause, 0.05))
            await application.bus.run(await application.bus.outbox.claim(10, handlers_here))

    seen = await to_thread.run_sync(
        outside.events, lambda seen: len(of_type(seen, "user_registered")) >= 2
    )
    emails = {
        json.loads(message.body)["data"]["email"] for message in of_type(seen, "user_registered")
    }
    assert emails == {"first@example.com", "second@example.com"}


@EACH_PROXIED
async def test_a_broker_that_does_not_answer_is_given_up_in_seconds(
    tmp_path: Path, proxied: tuple[str, Proxy, Outside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its handler's time is over. And while it is known to be silent, nobody asks it."""
    monkeypatch.setattr("aftercommit.extensions.circuit_breaker.PAUSE_SECONDS", 1000)
    url, proxy, _ = proxied
    async with bootstrap(settings(tmp_path, url)) as application:
        await application.bus.handle(a_registration(email="first@example.com"))
        proxy.hang()

        report = await application.bus.handle(a_registration(email="second@example.com"))
        assert {type(failure.error) for failure in report.failures} <= set(AWAY)
        assert report.failures

        before = proxy.accepted
        report = await application.bus.handle(a_registration(email="third@example.com"))
        assert proxy.accepted == before > 0
        assert {type(failure.error) for failure in report.failures} == {BrokerUnavailable}


async def test_each_broker_gets_the_event_whatever_the_others_do(
    tmp_path: Path, rabbitmq: Outside, kafka: Outside, free_tcp_port: int
) -> None:
    """Each is a handler of its own, also a second one of the same kind."""
    urls = f"{rabbitmq.url} {kafka.url} kafka://127.0.0.1:{free_tcp_port}"
    async with bootstrap(settings(tmp_path, urls)) as application:
        report = await application.bus.handle(a_registration())

    handlers = {failure.delivery.handler for failure in report.failures}
    assert handlers == {"publish_event_to_kafka_2"}
    for outside in (rabbitmq, kafka):
        await to_thread.run_sync(outside.events, lambda seen: len(seen) >= 2)


async def test_without_retries_the_events_of_an_aggregate_stay_in_order(
    tmp_path: Path, kafka: Outside
) -> None:
    """They have one key, so they share a partition."""
    ids = [a_user_id() for _ in range(5)]
    async with bootstrap(settings(tmp_path, kafka.url)) as application:
        for n, user_id in enumerate(ids):
            email = f"user{n}-0@example.com"
            await application.bus.handle(a_registration(user_id=user_id, email=email))
        for change in range(1, 6):
            for n, user_id in enumerate(ids):
                command = ChangeEmail(user_id=user_id, new_email=f"user{n}-{change}@example.com")
                await application.bus.handle(command)

    seen = await to_thread.run_sync(kafka.events, lambda seen: len(seen) >= 5 * 7)

    for n, user_id in enumerate(ids):
        data = [json.loads(message.body)["data"] for message in seen if message.key == str(user_id)]
        emails = [fact.get("new_email", fact.get("email")) for fact in data]
        told = [email for email in emails if email]  # CouponDenied has none
        assert told == [f"user{n}-{change}@example.com" for change in range(6)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nats://localhost", "is not of the form amqp://… or kafka://host:port,host:port"),
        ("amqp:/ivan:hunter2@localhost", "is not of the form amqp://…"),
        ("amqp://x amqp:/y", "is not of the form amqp://…"),
        ("amqp://", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ho<st/", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@[host/", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://ivan:hunter2@host:0/", "with a port from 1 to 65535"),
        ("amqp://ivan:hunter2@host:65536/", "with a port from 1 to 65535"),
        ("amqp://ivan:hunter2@host:x/", "with a port from 1 to 65535"),
        ("amqp://ivan:hunter2@host/a/b", "/, ? and # in a name as %"),
        ("amqp://ivan:hunter2@host/#x", "/, ? and # in a name as %"),
        ("amqp://ivan:hunter2%zz@host/", "% and two hexadecimal digits"),
        ("amqp://ivan:hunter2%ff@host/", "% and two hexadecimal digits of their UTF-8"),
        ("amqp://host/a%00", "% and two hexadecimal digits of their UTF-8"),
        ("kafka://localhost", "is not of the form kafka://host:port,host:port"),
        ("kafka://ivan:hunter2@localhost:9092", "is not of the form kafka://"),
        ("kafka://a:1/x", "is not of the form kafka://"),
        ("kafka://a:1,b:0", "with ports from 1 to 65535"),
        ("kafka://a:65536", "with ports from 1 to 65535"),
    ],
)
async def test_an_unusable_url_is_refused(tmp_path: Path, url: str, reason: str) -> None:
    """At start, with what is wrong, and without repeating it: it may hold a password."""
    with pytest.raises(InvalidValue) as refusal:
        async with bootstrap(settings(tmp_path, url)):
            pass

    assert str(refusal.value).startswith("broker URL ")
    assert reason in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["amqp://h", "amqps://u:p%40ss@h.example:1/", "amqp://[::1]:5672/a%2Fb?heartbeat=5"],
)
async def test_a_usable_url_is_accepted(url: str) -> None:
    """With or without what may be absent."""
    assert list(new_brokers([url], CHANNELS)) == ["rabbitmq"]


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
    (broker,) = new_brokers([url.geturl()], CHANNELS).values()

    with pytest.raises(BrokerUnavailable, match=told):
        await broker.publish(an_envelope(a_user_registered()))


async def test_publishing_does_not_depend_on_the_dead_letters(rabbitmq: RabbitOutside) -> None:
    """Whoever has made their queue in another way, or none."""
    await to_thread.run_sync(lambda: rabbitmq.replace_queue(DEAD, **{"x-max-length": 1000}))
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()

    await broker.publish(an_envelope(a_user_registered()))
    await broker.dead_letter(a_dead_message(b"{bad"), InvalidPayload("a command", "no JSON"))
    await to_thread.run_sync(rabbitmq.delete_queue, DEAD)
    await broker.publish(an_envelope(a_user_registered()))
    await broker.close()

    await to_thread.run_sync(rabbitmq.events, lambda seen: len(seen) >= 2)


async def test_a_message_that_the_broker_refuses_hurts_no_event(rabbitmq: RabbitOutside) -> None:
    """It ends its connection, on which they are not."""
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()
    refused = a_dead_message(b"{bad", {"x": "y" * 140_000})

    async with create_task_group() as group:
        for _ in range(100):
            group.start_soon(broker.publish, an_envelope(a_user_registered()))
        for _ in range(3):
            group.start_soon(broker.dead_letter, refused, InvalidPayload("a command", "no JSON"))
    await broker.close()

    await to_thread.run_sync(rabbitmq.events, lambda seen: len(seen) >= 100)
    assert len(await to_thread.run_sync(rabbitmq.dead, 3)) == 3


async def test_no_more_messages_come_than_may_be_in_flight(outside: Outside) -> None:
    """The rest is left to the broker, or to other consumers; Kafka is asked for one at a time."""
    (broker,) = new_brokers([outside.url], CHANNELS).values()
    await to_thread.run_sync(outside.send, *[a_user_message(message_id=f"m{n}") for n in range(5)])
    put, taken = create_memory_object_stream[InboundMessage](5)

    async def take(messages: AsyncIterator[InboundMessage]) -> None:
        async for message in messages:
            await put.send(message)

    in_flight = {"rabbitmq": 2, "kafka": 1}[outside.kind]
    async with put, taken, broker.consume(2) as messages, create_task_group() as group:
        group.start_soon(take, messages)
        with fail_after(60):
            held = [await taken.receive() for _ in range(in_flight)]
            for _ in range(5 - in_flight):
                await wait_all_tasks_blocked()
                assert taken.statistics().current_buffer_used == 0
                await held.pop(0).ack()
                held.append(await taken.receive())
        group.cancel_scope.cancel()


async def test_a_consumer_is_registered_before_its_process_is_ready(
    rabbitmq: RabbitOutside,
) -> None:
    """Whoever waits for the process to be ready may rely on that it consumes."""
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()

    async with broker.consume(20):
        assert await to_thread.run_sync(rabbitmq.consumers, COMMANDS) == 1


async def test_a_queue_of_commands_that_was_there_before_is_used(
    rabbitmq: RabbitOutside, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a classic one, of a version before; what it cannot do is told at start."""
    await to_thread.run_sync(rabbitmq.replace_queue, COMMANDS)
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()

    async with broker.consume(20) as messages:
        await to_thread.run_sync(rabbitmq.send, a_user_message())
        message = await anext(messages)
        await message.ack()

    assert "the queue allocation.commands is not of the kind" in caplog.text


async def test_a_queue_that_is_deleted_ends_the_session(rabbitmq: RabbitOutside) -> None:
    """As a lost connection does: silent, it would take nothing more, and nobody would know."""
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()

    async with create_task_group() as group, broker.consume(20) as messages:
        await to_thread.run_sync(rabbitmq.send, a_user_message())
        await (await anext(messages)).ack()
        group.start_soon(to_thread.run_sync, rabbitmq.delete_queue, COMMANDS)
        either = "the consumer was cancelled; its queue may be deleted|the connection was lost"
        with fail_after(60), pytest.raises(BrokerUnavailable, match=either):
            await anext(messages)
    async with broker.consume(20) as messages:
        await to_thread.run_sync(rabbitmq.declare_as_described)  # it is there, as described
        await to_thread.run_sync(rabbitmq.send, a_user_message())
        await (await anext(messages)).ack()


async def test_a_message_that_cannot_be_decoded_is_told_of(rabbitmq: RabbitOutside) -> None:
    """Where the queue has no limit it comes for ever, so somebody has to take it out."""
    await to_thread.run_sync(rabbitmq.replace_queue, COMMANDS)
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()
    await to_thread.run_sync(rabbitmq.send_undecodable)

    told = "cannot be decoded .*year 55840 .*until somebody takes it out of the queue"
    for _ in range(3):
        with pytest.raises(UndecodableMessage, match=told):
            async with broker.consume(20) as messages:
                await anext(messages)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_record_that_is_broken_or_grows_without_bounds_holds_up_nothing(
    kafka: KafkaOutside, codec: str
) -> None:
    """A few kilobytes may become gigabytes: a process would be killed, and begin with it again."""
    (broker,) = new_brokers([kafka.url], CHANNELS).values()
    too_much, good = b"x" * 21_000_000, a_user_message()
    await to_thread.run_sync(kafka.send_compressed, [too_much], codec)
    await to_thread.run_sync(kafka.send_broken, codec)
    await to_thread.run_sync(kafka.send, good)

    seen = []
    with fail_after(60):
        async with broker.consume(1) as messages:
            for _ in range(3):
                seen.append(await anext(messages))
                await seen[-1].ack()

    assert [message.body for message in seen] == [b"", b"", good]
    for offset, message in enumerate(seen[:2]):
        assert message.headers["undecodable"].startswith(f"partition 0, offset {offset}: ")
        assert "not decompressed" in message.headers["undecodable"]


@pytest.fixture
def without_dead_letters(free_tcp_port: int) -> Iterator[KafkaOutside]:
    """A broker with the topics of events and commands."""
    with tansu(free_tcp_port, advertised=free_tcp_port, topics=(EVENTS, COMMANDS)) as kafka:
        yield kafka


async def test_the_topic_of_dead_letters_is_made_before_anything_is_consumed(
    without_dead_letters: KafkaOutside,
) -> None:
    """Or, where topics do not come by themselves, the first poison would hold up all behind it."""
    (broker,) = new_brokers([without_dead_letters.url], CHANNELS).values()

    async with broker.consume(1):
        assert DEAD in await to_thread.run_sync(without_dead_letters.topics)


async def test_where_the_topic_of_dead_letters_cannot_be_made_nothing_is_consumed(
    without_dead_letters: KafkaOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is told what to do. A cluster may forbid it; the one of the tests cannot."""

    async def forbidden(_: object, topics: Sequence[NewTopic]) -> CreateTopicsResponse:
        refusal = (topics[0].name, TopicAuthorizationFailedError.errno, "not allowed")
        return CreateTopicsResponse(0, [refusal])

    monkeypatch.setattr(AIOKafkaAdminClient, "create_topics", forbidden)
    (broker,) = new_brokers([without_dead_letters.url], CHANNELS).values()

    with pytest.raises(MissingTopic, match=f"{DEAD} does not exist .*not allowed.* create it"):
        async with broker.consume(1):
            pass


async def test_the_longest_id_fits_into_every_database(database_url: str, tmp_path: Path) -> None:
    """Or its message would wait for ever, and hold up what comes after it."""
    letters = [chr(n) for n in range(0x4E00, 0x9FFF)]  # of three bytes each, hard to compress
    source, message_id = ("".join(random.sample(letters, MAX_BYTES // 3)) for _ in range(2))
    received = MessageOrigin(source=source, id=message_id)
    kept = f"maildir:{tmp_path / 'mail'}"
    async with bootstrap(Settings(database_url=database_url, mail_url=kept)) as application:
        await application.bus.execute(a_batch(), received)

        with pytest.raises(MessageAlreadyHandled):
            await application.bus.execute(a_batch(), received)


async def test_a_dead_letter_whose_queue_is_gone_is_not_lost(rabbitmq: RabbitOutside) -> None:
    """The broker would confirm it and throw it away; instead the queue is made again."""
    (broker,) = new_brokers([rabbitmq.url], CHANNELS).values()
    dead = a_dead_message(b"{bad")
    await broker.dead_letter(dead, InvalidPayload("a command", "no JSON"))
    await to_thread.run_sync(rabbitmq.delete_queue, DEAD)

    await broker.dead_letter(dead, InvalidPayload("a command", "no JSON"))
    await broker.close()

    assert len(await to_thread.run_sync(rabbitmq.dead, 1)) == 1


async def test_what_a_broker_does_not_take_is_dead_lettered_in_part(outside: Outside) -> None:
    """It would hold up what comes after it for ever, and break the connection for others."""
    (broker,) = new_brokers([outside.url], CHANNELS).values()
    too_much = {"rabbitmq": ({"x": "y" * 140_000}, b"{bad"), "kafka": ({}, b"x" * 21_000_000)}
    headers, body = too_much[outside.kind]
    await broker.dead_letter(a_dead_message(body, headers), InvalidPayload("a command", "no JSON"))
    await broker.dead_letter(a_dead_message(b"next"), InvalidPayload("a command", "no JSON"))
    await broker.close()

    first, second = sorted(
        await to_thread.run_sync(outside.dead, 2), key=lambda seen: seen.body == b"next"
    )
    assert body.startswith(first.body)
    assert first.headers["allocation-error"] == "invalid-payload"
    assert first.headers["allocation-cut"].startswith(f"{len(body)} bytes; ")
    assert "allocation-cut" not in second.headers


def a_dead_message(body: bytes, headers: dict[str, str] | None = None) -> InboundMessage:
    async def ack() -> None:
        pytest.fail("only the consumer acknowledges")

    return InboundMessage(body=body, headers=headers or {}, ack=ack)
