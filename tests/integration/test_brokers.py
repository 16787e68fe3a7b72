"""Publishing to real brokers: what others read, and what happens when a broker is not there."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from allocation.adapters.brokers import Incoming, new_brokers
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.commands import ChangeEmail
from allocation.domain.exceptions import BrokerUnavailable, InvalidPayload, InvalidValue
from tests.builders import HANDLER_NAMES, a_batch, a_registration, a_user_id
from tests.outside import Outside, RabbitOutside, Seen
from tests.proxy import Proxy
from tests.worlds import sqlite_url

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

EACH_PROXIED = pytest.mark.parametrize("proxied", ["rabbitmq", "kafka"], indirect=True)


def settings(folder: Path, broker_url: str, **others: Any) -> Settings:
    return Settings(database_url=sqlite_url(folder), broker_url=broker_url, **others)


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
    assert report.failures == ()

    seen = await to_thread.run_sync(outside.events, lambda seen: len(seen) >= 1)

    (message,) = seen  # the coupon is nobody's business
    registered = report.events[0]
    event = as_cloud_event(message)
    assert event.get_id() == str(registered.id)
    assert event.get_source() == "/allocation"
    assert event.get_type() == "user_registered"
    assert event.get_subject() == registered.subject
    assert event.get_time() == registered.time
    assert event.get_extension("correlationid") == str(registered.cause.correlation_id)
    assert event.get_extension("causationid") == str(registered.cause.causation_id)
    assert event.get_extension("schemaversion") == 2
    assert event.get_data() == {
        "user_id": registered.subject,
        "name": "Иван",
        "email": "ivan@example.com",
    }
    assert message.key == {"rabbitmq": "user_registered", "kafka": registered.subject}[outside.kind]


@EACH_PROXIED
async def test_a_broker_that_is_down_delays_only_its_own_deliveries(
    tmp_path: Path, proxied: tuple[str, Proxy, Outside]
) -> None:
    """The command is accepted, everything else is done, and the event is published later."""
    url, proxy, outside = proxied
    async with bootstrap(
        settings(tmp_path, url, retry_base_seconds=0.5, retry_factor=1.0, max_attempts=1000)
    ) as application:
        await application.bus.handle(a_registration(email="first@example.com"))
        proxy.cut()

        started = time.monotonic()
        report = await application.bus.handle(a_registration(email="second@example.com"))

        assert time.monotonic() - started < 8
        handlers = {failure.delivery.handler for failure in report.failures}
        assert handlers == {f"publish_event_to_{outside.kind}"}
        assert all(isinstance(failure.error, BrokerUnavailable) for failure in report.failures)
        proxy.open()
        while (pause := await application.outbox.seconds_until_due(HANDLER_NAMES)) is not None:
            await to_thread.run_sync(time.sleep, max(pause, 0.05))
            await application.bus.deliver(await application.outbox.claim(10, HANDLER_NAMES))

    seen = await to_thread.run_sync(
        outside.events, lambda seen: len(of_type(seen, "user_registered")) >= 2
    )
    emails = {
        json.loads(message.body)["data"]["email"] for message in of_type(seen, "user_registered")
    }
    assert emails == {"first@example.com", "second@example.com"}


@EACH_PROXIED
async def test_a_broker_that_does_not_answer_is_given_up_in_seconds(
    tmp_path: Path, proxied: tuple[str, Proxy, Outside]
) -> None:
    """And while it is known to be silent, others do not wait for it at all."""
    url, proxy, _ = proxied
    async with bootstrap(settings(tmp_path, url)) as application:
        await application.bus.handle(a_registration(email="first@example.com"))
        proxy.hang()

        started = time.monotonic()
        report = await application.bus.handle(a_registration(email="second@example.com"))
        assert time.monotonic() - started < 13
        assert {type(failure.error) for failure in report.failures} == {BrokerUnavailable}

        started = time.monotonic()
        report = await application.bus.handle(a_registration(email="third@example.com"))
        assert time.monotonic() - started < 1
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
        told = [email for email in emails if email]  # OutOfCoupons has none
        assert told == [f"user{n}-{change}@example.com" for change in range(6)]


@pytest.mark.parametrize(
    "url",
    [
        "nats://localhost",
        "amqp://",
        "amqp:/ivan:hunter2@localhost",
        "kafka://localhost",
        "kafka://ivan:hunter2@localhost:9092",
        "kafka://a:1/x",
        "amqp://x amqp:/y",
    ],
)
async def test_an_unusable_url_is_refused(tmp_path: Path, url: str) -> None:
    """At start, without repeating it: it may hold a password."""
    with pytest.raises(InvalidValue, match="^broker URL is not of the form") as refusal:
        async with bootstrap(settings(tmp_path, url)):
            pass

    assert "hunter2" not in str(refusal.value)


async def test_a_dead_letter_whose_queue_is_gone_is_not_lost(rabbitmq: RabbitOutside) -> None:
    """The broker would confirm it and throw it away; instead the queue is made again."""
    (broker,) = new_brokers([rabbitmq.url]).values()
    dead = a_dead_message(b"{bad")
    await broker.bury(dead, InvalidPayload("a command", "no JSON"))
    await to_thread.run_sync(rabbitmq.delete_dead_queue)

    with pytest.raises(BrokerUnavailable):
        await broker.bury(dead, InvalidPayload("a command", "no JSON"))
    await to_thread.run_sync(time.sleep, 1.1)
    await broker.bury(dead, InvalidPayload("a command", "no JSON"))
    await broker.close()

    assert len(await to_thread.run_sync(rabbitmq.dead, 1)) == 1


async def test_what_a_broker_does_not_take_is_buried_in_part(outside: Outside) -> None:
    """It would hold up what comes after it for ever, and break the connection for others."""
    (broker,) = new_brokers([outside.url]).values()
    too_much = {"rabbitmq": ({"x": "y" * 140_000}, b"{bad"), "kafka": ({}, b"x" * 21_000_000)}
    headers, body = too_much[outside.kind]
    await broker.bury(a_dead_message(body, headers), InvalidPayload("a command", "no JSON"))
    await broker.bury(a_dead_message(b"next"), InvalidPayload("a command", "no JSON"))
    await broker.close()

    first, second = sorted(
        await to_thread.run_sync(outside.dead, 2), key=lambda seen: seen.body == b"next"
    )
    assert body.startswith(first.body)
    assert first.headers["allocation-error"] == "invalid-payload"
    assert first.headers["allocation-cut"].startswith(f"{len(body)} bytes; ")
    assert "allocation-cut" not in second.headers


def a_dead_message(body: bytes, headers: dict[str, str] | None = None) -> Incoming:
    async def ack() -> None:
        pytest.fail("only the consumer acknowledges")

    return Incoming(body=body, headers=headers or {}, ack=ack)
