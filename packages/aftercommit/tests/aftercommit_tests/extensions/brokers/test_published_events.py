"""Every public event is published at least once: what others read, and brokers that are away."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from aftercommit import PUBLISH, Application, Envelope, Ordered, testing
from aftercommit.process.running_services import Shutdown
from anyio import create_task_group, fail_after, sleep, to_thread
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event

from aftercommit_tests.builders import PLAIN, Keys, a_claim, a_command, an_envelope, table
from aftercommit_tests.extensions.brokers.outside import (
    FULL,
    KafkaOutside,
    Outside,
    RabbitOutside,
    Seen,
)
from aftercommit_tests.inside.brokers import STOPPING, Channels, connect_publishers, new_brokers
from aftercommit_tests.inside.claims import Report
from aftercommit_tests.inside.errors import BrokerUnavailable, ConfirmTimeoutError, QueueFull
from aftercommit_tests.inside.process import circuit_breaker
from aftercommit_tests.inside.settings import BrokerSettings
from aftercommit_tests.misbehaving import PATIENT
from aftercommit_tests.processes import LIMIT_SECONDS, wait_until
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.things.domain import RenameThing, ThingId, ThingMade, ThingRenamed

pytestmark = [pytest.mark.anyio, pytest.mark.check]

AWAY = BrokerUnavailable, ConfirmTimeoutError  # as what it shows first, is up to the library
THINGS = 40
FEW, REPEATED_IN_AN_HOUR = 4, 7  # retries, with the default settings
EACH_PROXIED = pytest.mark.parametrize("proxied", ["rabbitmq", "kafka"], indirect=True)


@asynccontextmanager
async def opened(url: str, broker_urls: str, **others: Any) -> AsyncIterator[Application]:
    """Open the application on this database, with these brokers; at last, all of it is stopped."""
    of_brokers = BrokerSettings(broker_urls=broker_urls)
    settings = Settings(database_url=url, of_extensions=(of_brokers,), **PATIENT)
    async with bootstrap(settings, bell=RecordingBell(), **others) as application:
        yield application
    await until_all_is_stopped()


async def until_all_is_stopped() -> None:
    """Wait for producers that did not stop in time, as a loop that ends would cut them off."""
    with fail_after(LIMIT_SECONDS):
        while STOPPING:  # noqa: ASYNC110
            await sleep(0.05)


def as_cloud_event(seen: Seen) -> BaseCloudEvent:
    """Read a message as the CloudEvents SDK does, with its way of recognizing structured ones."""
    headers = {"content-type": seen.content_type.encode()}
    return from_kafka_event(KafkaMessage(headers=headers, key=seen.key, value=seen.body))


async def test_a_public_event_arrives_as_a_cloud_event(sqlite_url: str, outside: Outside) -> None:
    """With all its attributes, so that others need nothing of ours to read it."""
    async with opened(sqlite_url, outside.url) as application:
        report = await application.bus.handle(a_command("лампа"))
    assert report.failures == []

    (message,) = await to_thread.run_sync(outside.events, bool)  # ThingPolished is not public

    made, event = report.events[0], as_cloud_event(message)
    assert event.get_id() == str(made.id)
    assert event.get_source() == "/things"
    assert event.get_type() == "thing_made"
    assert event.get_subject() == made.subject
    assert event.get_time() == made.time
    assert event.get_extension("correlationid") == str(made.context.correlation_id)
    assert event.get_extension("causationid") == str(made.context.causation_id)
    assert event.get_data() == {"thing_id": made.subject, "name": "лампа"}
    assert json.loads(message.body)["partitionkey"] == made.subject
    assert message.key == {"rabbitmq": "thing_made", "kafka": made.subject}[outside.kind]


async def test_what_is_published_in_order_says_by_what_and_where_it_stands(
    sqlite_url: str, outside: Outside
) -> None:
    """All events of one key come one by one; what comes twice, or late, is seen by `sequence`."""
    keys: Keys = {each: lambda event: event.name[:3] for each in (ThingMade, ThingRenamed)}
    in_order = table({**PLAIN, **{each: [Ordered(PUBLISH)] for each in keys}}, keys=keys)
    made = [a_command(f"top {number}") for number in range(4)]

    async with opened(sqlite_url, outside.url, handlers=in_order) as application:
        for command in made:
            await application.bus.handle(command)
        await application.bus.handle(RenameThing(thing_id=made[0].thing_id, name="top 4"))

    seen = await to_thread.run_sync(outside.events, lambda seen: len(seen) == len(made) + 1)
    found = [json.loads(each.body) for each in seen]
    assert [each["data"]["name"] for each in found] == [f"top {number}" for number in range(5)]
    assert {each["partitionkey"] for each in found} == {"top"}
    assert all(each.key == "top" for each in seen if outside.kind == "kafka")
    numbers = [each["sequence"] for each in found]
    assert numbers == sorted({*numbers})
    assert {len(number) for number in numbers} == {20}


async def test_an_exchange_that_others_have_made_is_used_as_it_is(
    sqlite_url: str, rabbitmq: RabbitOutside
) -> None:
    """It may have an alternate exchange, on purpose: no event is refused for that."""
    await to_thread.run_sync(rabbitmq.replace_exchange)

    async with opened(sqlite_url, rabbitmq.url) as application:
        report = await application.bus.handle(a_command())

    assert report.failures == []
    await to_thread.run_sync(rabbitmq.events, bool)


async def test_subscribers_can_bind_before_the_first_event(
    sqlite_url: str, rabbitmq: RabbitOutside
) -> None:
    """A worker makes the exchange when it starts; a queue that is bound later misses events."""
    await to_thread.run_sync(rabbitmq.delete_exchange)
    stop = Shutdown()

    async with opened(sqlite_url, rabbitmq.url) as application:
        with fail_after(LIMIT_SECONDS):
            await connect_publishers(application, stop)

        await to_thread.run_sync(rabbitmq.bind)
        await application.bus.handle(a_command())

    await to_thread.run_sync(rabbitmq.events, bool)


@EACH_PROXIED
async def test_a_worker_connects_when_its_broker_is_back(
    sqlite_url: str, proxied: tuple[str, Proxy, Outside], caplog: pytest.LogCaptureFixture
) -> None:
    """It starts without it, tells so once, and does not wait for the first event to try again."""
    url, proxy, _ = proxied
    proxy.cut()

    async with opened(sqlite_url, url) as application, create_task_group() as group:
        group.start_soon(connect_publishers, application, Shutdown())
        with fail_after(LIMIT_SECONDS):
            await to_thread.run_sync(wait_until, lambda: "trying again" in caplog.text)
            proxy.open()
            await to_thread.run_sync(wait_until, lambda: proxy.accepted)

    assert caplog.text.count("trying again") == 1


@EACH_PROXIED
async def test_all_events_are_published_though_the_broker_goes_away(
    sqlite_url: str, proxied: tuple[str, Proxy, Outside]
) -> None:
    """At least once each, with ids by which the doubles can be dropped. All else is done."""
    url, proxy, outside = proxied
    reports: list[Report] = []

    async with opened(sqlite_url, url) as application:

        async def make_a_thing() -> None:
            reports.append(await application.bus.handle(a_command()))

        async with create_task_group() as group:
            for _ in range(THINGS):
                group.start_soon(make_a_thing)
            await to_thread.run_sync(outside.events, lambda seen: len(seen) >= THINGS // 4)
            proxy.cut()
        await make_a_thing()
        failures = [failure for report in reports for failure in report.failures]
        assert {each.delivery.handler for each in failures} == {f"publish_event_to_{outside.kind}"}
        assert all(isinstance(each.error, AWAY) for each in failures)
        proxy.open()
        await deliver_until_none_fails(application)

    seen = await to_thread.run_sync(outside.events, lambda seen: len(ids_of(seen)) > THINGS)
    made = [event for report in reports for event in report.events if event.type == "thing_made"]
    assert ids_of(seen) == {str(event.id) for event in made}


@EACH_PROXIED
async def test_a_broker_that_does_not_answer_is_given_up_in_seconds(
    sqlite_url: str, proxied: tuple[str, Proxy, Outside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its handler's time is over. And while it is known to be silent, nobody asks it."""
    monkeypatch.setattr(circuit_breaker, "PAUSE_SECONDS", 1000)
    url, proxy, _ = proxied
    async with opened(sqlite_url, url) as application:
        await application.bus.handle(a_command())
        proxy.hang()

        [silent] = (await application.bus.handle(a_command())).failures
        await until_all_is_stopped()  # it goes on asking for what it had begun
        before = proxy.accepted
        [left_alone] = (await application.bus.handle(a_command())).failures

    assert isinstance(silent.error, AWAY)
    assert isinstance(left_alone.error, BrokerUnavailable)
    assert proxy.accepted == before > 0


async def test_a_frozen_kafka_is_an_outage_also_for_what_no_longer_fits_into_a_batch(
    kafka: KafkaOutside,
) -> None:
    """The library keeps later events waiting without sending them; none is taken for refused."""
    (broker,) = new_brokers([kafka.url], Channels("things")).values()
    large = [an_envelope(a_large_thing()) for _ in range(THINGS)]
    errors, sent = list[Exception](), list[str]()

    async def publish(envelope: Envelope) -> None:
        try:
            await broker.publish(envelope)
            sent.append(str(envelope.id))
        except Exception as error:
            errors.append(error)

    await publish(an_envelope())  # by then, there is a connection
    with kafka.frozen(), fail_after(LIMIT_SECONDS):
        async with create_task_group() as group:
            for each in large:
                group.start_soon(publish, each)

    assert len(errors) == len(large)
    assert all(isinstance(each, AWAY) for each in errors)

    with fail_after(LIMIT_SECONDS):
        while len(sent) == 1:  # it is left alone for as long as it took to notice
            await publish(large[0])
            await sleep(0.1)
    await to_thread.run_sync(kafka.events, lambda seen: ids_of(seen) >= {*sent})
    await broker.close()
    await until_all_is_stopped()


def a_large_thing() -> ThingMade:
    """Return an event of which few fit into a batch of the library, which has 16 kB."""
    return ThingMade(thing_id=ThingId(uuid4()), name="x" * 5_000)


@pytest.mark.parametrize("refusal", ["nack", "closed channel"])
async def test_what_rabbitmq_refuses_while_much_is_in_flight_is_published_again(
    sqlite_url: str, rabbitmq: RabbitOutside, refusal: str
) -> None:
    """It refuses one event by a nack, or all on a channel by closing it."""
    reports: list[Report] = []

    async with opened(sqlite_url, rabbitmq.url) as application:

        async def make_a_thing() -> None:
            reports.append(await application.bus.handle(a_command()))

        await make_a_thing()  # by then, there is a connection
        if refusal == "nack":
            await to_thread.run_sync(rabbitmq.bind_full_queue)
        else:
            await to_thread.run_sync(rabbitmq.delete_exchange)
        async with create_task_group() as group:
            for _ in range(THINGS):
                group.start_soon(make_a_thing)
        if refusal == "nack":
            await to_thread.run_sync(rabbitmq.delete_queue, FULL)
        else:
            await to_thread.run_sync(partial(rabbitmq.bind, make=True))
        await deliver_until_none_fails(application)

    failures = [failure for report in reports for failure in report.failures]
    assert all(isinstance(each.error, (*AWAY, QueueFull)) for each in failures)
    refused = {str(each.delivery.envelope.id) for each in failures}
    assert refused
    await to_thread.run_sync(rabbitmq.events, lambda seen: ids_of(seen) >= refused)


async def test_a_full_queue_of_one_team_stops_no_other_event(
    sqlite_url: str, rabbitmq: RabbitOutside
) -> None:
    """It is the matter of its event, which is tried again, later and later, and never parked.

    All other queues that are bound to that event get it once more each time.
    """
    async with opened(sqlite_url, rabbitmq.url) as application:
        await application.bus.handle(made := a_command())
        await to_thread.run_sync(rabbitmq.bind_full_queue, "thing_made")
        refused = await application.bus.handle(a_command())
        renamed = await application.bus.handle(RenameThing(thing_id=made.thing_id, name="vase"))
        again = []
        for _ in range(REPEATED_IN_AN_HOUR):
            await testing.let_time_pass(application, hours=2)
            again += (await testing.deliver_due(application)).failures
        await to_thread.run_sync(rabbitmq.delete_queue, FULL)
        await deliver_until_none_fails(application)

    failures = [*refused.failures, *again]
    assert [type(each.error) for each in failures] == [QueueFull] * (1 + REPEATED_IN_AN_HOUR)
    assert renamed.failures == []
    of_refused = str(failures[0].delivery.envelope.id)
    all_of_it = 2 + REPEATED_IN_AN_HOUR
    await to_thread.run_sync(
        rabbitmq.events, lambda seen: [*map(id_of, seen)].count(of_refused) == all_of_it
    )


def test_the_repetitions_of_an_event_are_soon_more_than_a_minute_apart() -> None:
    """Teams that have it already get it at most so often, whatever the jitter is."""
    policy, full = Settings(database_url="sqlite://"), QueueFull("it", "no")
    claims = [replace(a_claim(), unavailable_attempts=number) for number in range(9)]
    shortest = [policy.retry_delay(claim, full, random=lambda: 0.0) or 0.0 for claim in claims]

    assert min(shortest[FEW:]) > 60
    assert sum(shortest[: REPEATED_IN_AN_HOUR + 1]) > 3600


async def test_each_broker_gets_the_event_whatever_the_others_do(
    sqlite_url: str, rabbitmq: Outside, kafka: Outside, free_tcp_port: int
) -> None:
    """Each is a handler of its own, also a second one of the same kind."""
    urls = f"{rabbitmq.url} {kafka.url} kafka://127.0.0.1:{free_tcp_port}"

    async with opened(sqlite_url, urls) as application:
        report = await application.bus.handle(a_command())

    assert [failure.delivery.handler for failure in report.failures] == ["publish_event_to_kafka_2"]
    for outside in (rabbitmq, kafka):
        await to_thread.run_sync(outside.events, bool)


async def deliver_until_none_fails(application: Application) -> None:
    """Let time pass, and deliver what is due, again and again."""
    await testing.let_time_pass(application, hours=2)
    with fail_after(LIMIT_SECONDS):
        while (await testing.deliver_due(application)).failures:
            await sleep(0.1)  # at first, the broker is left alone for a second
            await testing.let_time_pass(application, hours=2)


def id_of(message: Seen) -> str:
    """Return the id of a message."""
    return str(json.loads(message.body)["id"])


def ids_of(seen: Sequence[Seen]) -> set[str]:
    """Return the ids of the messages: what is there twice has the same one."""
    return {*map(id_of, seen)}
