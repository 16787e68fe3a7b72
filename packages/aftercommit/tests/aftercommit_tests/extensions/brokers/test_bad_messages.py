"""A permanently bad message blocks nothing: it is a dead letter, with its reason."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from aftercommit.errors import Defect, InvalidPayload
from aiokafka.admin import AIOKafkaAdminClient, NewTopic  # type: ignore[import-untyped]
from aiokafka.errors import TopicAuthorizationFailedError  # type: ignore[import-untyped]
from aiokafka.protocol.admin import (  # type: ignore[import-untyped]
    CreateTopicsResponse_v3 as CreateTopicsResponse,
)
from anyio import create_task_group, fail_after, to_thread

from aftercommit_tests.builders import a_message, an_envelope
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.environments import ROOT
from aftercommit_tests.extensions.brokers.fixtures import tansu
from aftercommit_tests.extensions.brokers.list_broker import Failing, ListBroker, consuming
from aftercommit_tests.extensions.brokers.outside import (
    COMMANDS,
    DEAD,
    EVENTS,
    KafkaOutside,
    Outside,
    RabbitOutside,
)
from aftercommit_tests.inside.brokers import Broker, Channels, ReceivedMessage, new_brokers
from aftercommit_tests.inside.errors import MissingTopic
from aftercommit_tests.processes import LIMIT_SECONDS
from aftercommit_tests.things.domain import ThingNotFound

pytestmark = [pytest.mark.anyio, pytest.mark.check]

THINGS = Channels("things")
NO_JSON = InvalidPayload("a command", "no JSON")
MISTAKE = ZeroDivisionError()


class CannotHealError(Defect):
    """A statement that the database will never understand, for example."""

    retryable = False


@pytest.mark.parametrize(
    ("error", "attempts"), [(MISTAKE, 3), (CannotHealError(), 1), (ThingNotFound("t1"), 1)]
)
async def test_what_does_not_heal_is_dead_lettered_with_its_reason(
    broker: ListBroker, new_world: NewWorld, error: Exception, attempts: int
) -> None:
    """A mistake in the program after the last attempt: it would hold up what comes after it."""
    handler, message = Failing([error] * 3), a_message()
    async with consuming(broker, await new_world(**handler.handlers())):
        await broker.handle_in_turn(message)

    assert handler.calls == attempts
    assert broker.dead_lettered == [(message, type(error).__name__)]


async def test_what_cannot_be_dead_lettered_yet_is_kept_and_disturbs_nobody(
    broker: ListBroker, new_world: NewWorld
) -> None:
    """The dead letters may be away, while other messages can be handled."""
    broker.dead_lettering_fails = 4
    handler, messages = Failing([MISTAKE] * 3), [a_message(message_id=f"m{n}") for n in (1, 2)]
    async with consuming(broker, await new_world(**handler.handlers())):
        broker.put(messages[0], b"{bad")
        await broker.acks(2)
        await broker.handle_in_turn(messages[1])

    assert broker.dead_lettering_fails == 0
    assert set(broker.dead_lettered) == {
        (messages[0], "ZeroDivisionError"),
        (b"{bad", "InvalidPayload"),
    }


def a_dead_message(body: bytes, headers: dict[str, Any] | None = None) -> ReceivedMessage:
    async def ack() -> None:
        pytest.fail("only the consumer acknowledges")

    return ReceivedMessage(body=body, headers=headers or {}, ack=ack)


async def test_a_dead_letter_that_is_refused_hurts_no_event(rabbitmq: RabbitOutside) -> None:
    """It ends its connection, on which events are not; its beginning has to do."""
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()
    refused = a_dead_message(b"{bad", {"x": "y" * 140_000})

    async with create_task_group() as group:
        for _ in range(100):
            group.start_soon(broker.publish, an_envelope())
        for _ in range(3):
            group.start_soon(broker.dead_letter, refused, NO_JSON, DEAD)
    await broker.close()

    await to_thread.run_sync(rabbitmq.events, lambda seen: len(seen) >= 100)
    assert len(await to_thread.run_sync(rabbitmq.dead, 3)) == 3


@pytest.mark.parametrize(
    ("outside", "headers", "body"),
    [
        ("rabbitmq", {"x": "y" * 140_000}, b"{bad"),
        ("rabbitmq", {"x": 1e300}, b"{bad"),  # the library reads doubles, and writes floats only
        ("kafka", {}, b"x" * 21_000_000),
    ],
    indirect=["outside"],
    ids=["a long header", "a double", "a long body"],
)
async def test_what_a_broker_does_not_take_is_dead_lettered_in_part(
    outside: Outside, headers: dict[str, Any], body: bytes
) -> None:
    """It would hold up what comes after it forever, and break the connection for others."""
    (broker,) = new_brokers([outside.url], THINGS).values()
    await broker.dead_letter(a_dead_message(body, headers), NO_JSON, DEAD)
    await broker.dead_letter(a_dead_message(b"next"), NO_JSON, DEAD)
    await broker.close()

    first, second = sorted(
        await to_thread.run_sync(outside.dead, 2), key=lambda seen: seen.body == b"next"
    )
    assert body.startswith(first.body)
    assert first.headers["things-error"] == "invalid-payload"
    assert first.headers["things-cut"].startswith(f"{len(body)} bytes; ")
    assert "things-cut" not in second.headers


async def test_a_queue_of_dead_letters_that_is_gone_or_another_loses_nothing(
    rabbitmq: RabbitOutside,
) -> None:
    """The broker would confirm a dead letter and throw it away; events do not depend on it."""
    await to_thread.run_sync(lambda: rabbitmq.replace_queue(DEAD, **{"x-max-length": 1000}))
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()
    await broker.dead_letter(a_dead_message(b"{bad"), NO_JSON, DEAD)
    await to_thread.run_sync(rabbitmq.delete_queue, DEAD)

    await broker.publish(an_envelope())
    await broker.dead_letter(a_dead_message(b"next"), NO_JSON, DEAD)
    await broker.close()

    assert [seen.body for seen in await to_thread.run_sync(rabbitmq.dead, 1)] == [b"next"]
    await to_thread.run_sync(rabbitmq.events, bool)


async def test_dead_letters_are_on_several_servers_and_may_be_looked_at_for_ever(
    rabbitmq: RabbitOutside,
) -> None:
    """A classic queue is lost with its server; a quorum queue has a limit of deliveries."""
    await to_thread.run_sync(rabbitmq.delete_queue, DEAD)
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()
    await broker.dead_letter(a_dead_message(b"{bad"), NO_JSON, DEAD)
    await broker.close()

    await to_thread.run_sync(rabbitmq.look_at, DEAD, 25)

    assert [seen.body for seen in await to_thread.run_sync(rabbitmq.dead, 1)] == [b"{bad"]


def move_queue(url: str) -> None:
    """Do what the page for operators says."""
    program = [sys.executable, str(ROOT / "docs" / "deploy" / "move_queue.py"), DEAD]
    moving = {**os.environ, "AMQP_URL": url}
    subprocess.run(program, env=moving, check=True, timeout=LIMIT_SECONDS)


async def test_a_classic_queue_of_dead_letters_is_used_reported_and_moved(
    rabbitmq: RabbitOutside, caplog: pytest.LogCaptureFixture
) -> None:
    """Releases before this one have made it; what waits there stays there until it is moved."""
    await to_thread.run_sync(rabbitmq.replace_queue, DEAD)
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()
    waiting = [f"{{bad {number}".encode() for number in range(30)]
    for body in waiting:
        await broker.dead_letter(a_dead_message(body, {"x": "y"}), NO_JSON, DEAD)
    async with broker.consume(broker.channels.inlet, 1, print):
        pass
    assert f"the queue {DEAD} is used as it is" in caplog.text
    assert "current is 'classic'" in caplog.text

    for _ in range(2):  # a repetition does nothing
        await to_thread.run_sync(move_queue, rabbitmq.url)

    caplog.clear()
    async with broker.consume(broker.channels.inlet, 1, print):
        pass
    await broker.close()
    assert "is used as it is" not in caplog.text
    moved = await to_thread.run_sync(rabbitmq.dead, len(waiting))
    assert [each.body for each in moved] == waiting
    assert {(each.headers["x"], each.headers["things-error"]) for each in moved} == {
        ("y", "invalid-payload")
    }


async def consumed(broker: Broker, count: int) -> list[ReceivedMessage]:
    """Return so many messages, which are acknowledged one by one."""
    seen = list[ReceivedMessage]()
    with fail_after(60):
        async with broker.consume(broker.channels.inlet, 1, print) as messages:
            for _ in range(count):
                seen.append(await anext(messages))
                await seen[-1].ack()
    return seen


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_record_that_cannot_be_decoded_or_grows_without_bounds_holds_up_nothing(
    kafka: KafkaOutside, codec: str
) -> None:
    """A few kilobytes may become gigabytes: a process would be killed, and begin with it again."""
    (broker,) = new_brokers([kafka.url], THINGS).values()
    too_much, good = b"x" * 21_000_000, a_message()
    await to_thread.run_sync(kafka.send_compressed, [too_much], codec)
    await to_thread.run_sync(kafka.send_undecodable)
    await to_thread.run_sync(kafka.send, good)

    seen = await consumed(broker, 3)

    assert [message.body for message in seen] == [b"", b"", good]
    for offset, why in enumerate(["not decompressed", "'utf-8' codec can't decode"]):
        told = seen[offset].headers["undecodable"]
        assert told.startswith(f"partition 0, offset {offset}: ")
        assert why in told


async def test_a_record_in_a_codec_that_is_not_installed_holds_up_nothing(
    kafka: KafkaOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can read it here, however often it comes."""
    (broker,) = new_brokers([kafka.url], THINGS).values()
    good = a_message()
    await to_thread.run_sync(kafka.send_compressed, [a_message()], "zstd")
    await to_thread.run_sync(kafka.send_compressed, [good], "gzip")
    monkeypatch.setattr("aiokafka.codec.has_zstd", lambda: False)

    seen = await consumed(broker, 2)

    assert [message.body for message in seen] == [b"", good]
    assert "zstd compression codec not found" in seen[0].headers["undecodable"]


@pytest.fixture
def without_dead_letters(free_tcp_port: int) -> Iterator[KafkaOutside]:
    """A broker with the topics of events and commands."""
    with tansu(free_tcp_port, topics=(EVENTS, COMMANDS)) as kafka:
        yield kafka


async def test_nothing_is_consumed_without_the_topic_of_dead_letters(
    without_dead_letters: KafkaOutside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first poison would hold up all behind it: the topic is made, or it is told what to do.

    A cluster may forbid to make it; the one of the tests cannot.
    """

    async def forbidden(_: object, topics: Sequence[NewTopic]) -> CreateTopicsResponse:
        refusal = (topics[0].name, TopicAuthorizationFailedError.errno, "not allowed")
        return CreateTopicsResponse(0, [refusal])

    (broker,) = new_brokers([without_dead_letters.url], THINGS).values()
    with monkeypatch.context() as cluster:
        cluster.setattr(AIOKafkaAdminClient, "create_topics", forbidden)
        with pytest.raises(MissingTopic, match=f"{DEAD} does not exist .*not allowed.* create it"):
            async with broker.consume(broker.channels.inlet, 1, print):
                pass

    async with broker.consume(broker.channels.inlet, 1, print):
        assert DEAD in await to_thread.run_sync(without_dead_letters.topics)
