"""Commands for other services: confirmed by the broker, recognized by their id, of one trace."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aftercommit import Application, IdempotencyKey, MessageOrigin, testing
from anyio import to_thread

from aftercommit_tests.builders import PLAIN, a_command, table
from aftercommit_tests.extensions.brokers.outside import COMMANDS, Outside, RabbitOutside
from aftercommit_tests.inside.brokers import MAX_MESSAGE_BYTES, Channels, CommandSender, new_brokers
from aftercommit_tests.inside.errors import MessageTooLarge, TargetMissing
from aftercommit_tests.inside.settings import BrokerSettings
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import Settings, bootstrap
from aftercommit_tests.things.bell import RecordingBell
from aftercommit_tests.things.domain import ThingMade

pytestmark = [pytest.mark.anyio, pytest.mark.check]

SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def polish_elsewhere(
    event: ThingMade, command_sender: CommandSender, idempotency_key: IdempotencyKey
) -> None:
    """Send a command whose service is `things`, too: there is a queue of its commands."""
    data = {"thing": event.thing_id, "shine": event.name}
    await command_sender.send("things", "polish", data, idempotency_key=idempotency_key)


async def polish_nowhere(
    event: ThingMade, command_sender: CommandSender, idempotency_key: IdempotencyKey
) -> None:
    """Send one to a service that has not started yet."""
    await command_sender.send("nobody", "polish", {}, idempotency_key=idempotency_key)


@asynccontextmanager
async def opened(url: str, broker_urls: str | None, *handlers: Any) -> AsyncIterator[Application]:
    """Open the application with these handlers of ThingMade alone."""
    settings = Settings(database_url=url, of_extensions=(BrokerSettings(broker_urls=broker_urls),))
    handled = table({**PLAIN, ThingMade: [*handlers]})
    async with bootstrap(settings, bell=RecordingBell(), handlers=handled) as application:
        yield application


async def test_a_command_is_a_cloud_event_of_the_trace_of_its_event(
    sqlite_url: str, outside: Outside
) -> None:
    """So one trace leads through both services, and a repetition is recognized."""
    origin = MessageOrigin(source="/till", id="1", traceparent=SPAN)
    async with opened(sqlite_url, outside.url, polish_elsewhere) as application:
        report = await application.bus.handle(command := a_command("лампа"), origin)

    (sent,) = await to_thread.run_sync(outside.dead, 1, COMMANDS)
    made = report.events[0]
    assert report.failures == []
    assert json.loads(sent.body) == {
        "specversion": "1.0",
        "id": f"{made.id}:polish_elsewhere",
        "source": "/things",
        "type": "polish",
        "datacontenttype": "application/json",
        "correlationid": str(made.context.correlation_id),
        "causationid": str(made.id),
        "traceparent": SPAN,
        "data": {"thing": str(command.thing_id), "shine": "лампа"},
    }
    assert (sent.content_type, sent.headers["traceparent"]) == (
        "application/cloudevents+json",
        SPAN,
    )


async def test_a_command_waits_until_its_service_has_a_queue(
    sqlite_url: str, rabbitmq: RabbitOutside
) -> None:
    """Services start in any order. Nothing is lost, nothing parked, and others are not held up."""
    try:
        async with opened(
            sqlite_url, rabbitmq.url, polish_nowhere, polish_elsewhere
        ) as application:
            report = await application.bus.handle(a_command())

            (failure,) = report.failures
            assert isinstance(failure.error, TargetMissing)
            assert "there is no queue nobody.commands" in str(failure.error)
            await to_thread.run_sync(rabbitmq.dead, 1, COMMANDS)

            await to_thread.run_sync(rabbitmq.declare_queue, "nobody.commands")
            await testing.let_time_pass(application, hours=1)
            await testing.deliver_due(application)

        (sent,) = await to_thread.run_sync(rabbitmq.dead, 1, "nobody.commands")
        assert json.loads(sent.body)["id"] == failure.delivery.idempotency_key
    finally:
        await to_thread.run_sync(rabbitmq.delete_queue, "nobody.commands")


@pytest.mark.parametrize("proxied", ["kafka"], indirect=True)
async def test_a_command_waits_until_servers_know_its_topic(
    proxied: tuple[str, Proxy, Outside],
) -> None:
    """Nobody can tell a topic that is not there from servers that say nothing."""
    url, proxy, outside = proxied
    (broker,) = new_brokers([url], Channels("things")).values()
    sender = CommandSender(broker, "/things")
    key = IdempotencyKey("the key of a delivery")
    await sender.send("others", "polish", {}, idempotency_key=key)
    proxy.cut()
    with pytest.raises(TargetMissing, match="there is no topic things.commands, or no server"):
        await sender.send("things", "polish", {}, idempotency_key=key)

    proxy.open()
    await sender.send("things", "polish", {}, idempotency_key=key)
    await sender.aclose()

    (sent,) = await to_thread.run_sync(outside.dead, 1, COMMANDS)
    assert json.loads(sent.body)["id"] == key


async def test_where_there_is_no_broker_its_handler_waits(sqlite_url: str) -> None:
    """For a process that has one: so one without can still do everything else."""
    async with opened(sqlite_url, None, polish_elsewhere) as application:
        report = await application.bus.handle(a_command())

    assert report.failures == []
    assert "polish_elsewhere" not in application.bus.registry.events


async def test_a_command_that_no_service_would_accept_is_refused(
    sqlite_url: str, rabbitmq: RabbitOutside
) -> None:
    """It would be a dead letter of another team's."""
    async with opened(sqlite_url, rabbitmq.url, polish_elsewhere) as application:
        report = await application.bus.handle(a_command("a" * MAX_MESSAGE_BYTES))

    (failure,) = report.failures
    assert isinstance(failure.error, MessageTooLarge)
    assert failure.retry_in is None
