"""What became of a command is told to its sender, if it says where and that is allowed."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest
from anyio import to_thread

from aftercommit_tests.builders import a_message
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.brokers.list_broker import Failing, consuming
from aftercommit_tests.extensions.brokers.outside import KafkaOutside, Outside, RabbitOutside, Seen
from aftercommit_tests.extensions.brokers.test_subscribed_messages import SeenMessages, until
from aftercommit_tests.inside.brokers import (
    MAX_BYTES,
    Broker,
    Channels,
    answers_to_senders,
    cloud_events,
    new_brokers,
)

pytestmark = [pytest.mark.anyio, pytest.mark.check]

REPLIES = "shop.replies"
ALLOWED = ["shop.*"]


@pytest.fixture
async def broker(outside: Outside) -> AsyncIterator[Broker]:
    """The broker, as our program knows it."""
    (broker,) = new_brokers([outside.url], Channels("things")).values()
    yield broker
    await broker.close()


@pytest.fixture
def replies(outside: Outside) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """A queue or topic of the sender, and what returns so many answers, as they were sent."""
    if isinstance(outside, RabbitOutside):
        outside.delete_queue(REPLIES)
        outside.declare_queue(REPLIES)
    elif isinstance(outside, KafkaOutside):
        outside.begin([REPLIES])

    def take(count: int) -> list[dict[str, Any]]:
        seen: list[Seen] = outside.dead(count, REPLIES)
        return [json.loads(each.body) for each in seen]

    yield take
    if isinstance(outside, RabbitOutside):
        outside.delete_queue(REPLIES)


async def test_a_sender_learns_what_became_of_each_of_its_commands(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
) -> None:
    """Accepted, with the ids of its events, also when it comes again; or refused, with the reason.

    A refused one is a dead letter, too.
    """
    world = await new_world()
    accepted, refused = a_message(message_id="m1"), a_message(message_id="m2", name="")
    ask = partial(outside.send, headers={"reply-to": REPLIES})
    async with consuming(broker, world, answer_to=ALLOWED):
        await to_thread.run_sync(ask, accepted, refused, accepted)
        told = await to_thread.run_sync(replies, 3)
        (dead,) = await to_thread.run_sync(outside.dead, 1)

    assert dead.body == refused
    of_first = [each for each in told if each["data"]["command"] == "m1"]
    assert [each["type"] for each in of_first] == ["command_accepted"] * 2
    assert {tuple(each["data"]["events"]) for each in of_first} == {
        tuple(str(each) for each in await world.event_ids())
    }
    assert {each["data"]["command_source"] for each in told} == {"/shop"}
    (of_second,) = (each for each in told if each["data"]["command"] == "m2")
    assert (of_second["type"], of_second["source"]) == ("command_refused", "/things")
    assert of_second["data"]["error"] == "invalid-name"
    assert of_second["data"]["reason"]


async def test_an_answer_after_a_bug_has_an_id_and_our_log_its_text(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The text may quote what is stored about others: it is not for another team."""
    handler = Failing([ValueError("Maria lives in Rose Street")] * 3)
    async with consuming(broker, await new_world(**handler.handlers()), answer_to=ALLOWED):
        ask = partial(outside.send, headers={"reply-to": REPLIES})
        await to_thread.run_sync(ask, a_message(message_id="m1"))
        (told,) = await to_thread.run_sync(replies, 1)

    assert (told["type"], told["data"]["error"]) == ("command_refused", "bug")
    assert (
        told["data"]["reason"] == "the log of /things has the reason, under the id of this answer"
    )
    (logged,) = [each for each in caplog.messages if told["id"] in each]
    assert "Maria lives in Rose Street" in logged


async def test_a_cloud_event_can_say_itself_where_to_answer(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
) -> None:
    """By an attribute, so a sender need not know what each broker has for it."""
    message = json.dumps(json.loads(a_message(message_id="m1")) | {"replyto": REPLIES}).encode()
    async with consuming(broker, await new_world(), answer_to=ALLOWED):
        await to_thread.run_sync(outside.send, message)
        (told,) = await to_thread.run_sync(replies, 1)

    assert (told["type"], told["data"]["command"]) == ("command_accepted", "m1")


async def test_nobody_is_answered_who_is_not_allowed_or_not_there(
    broker: Broker, outside: Outside, new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is executed all the same; that nobody has heard of it is counted.

    The topic comes when somebody asks for it, as on many servers of Kafka.
    """
    unanswered = 1 if isinstance(outside, RabbitOutside) else 0
    monkeypatch.setattr(answers_to_senders, "ANSWER_SECONDS", 0.5)
    seen = SeenMessages()
    world = await new_world(observers=[seen])
    async with consuming(broker, world, answer_to=ALLOWED):
        missing = partial(outside.send, headers={"reply-to": "shop.nowhere"})
        await to_thread.run_sync(missing, a_message(name="lamp"))
        forbidden = partial(outside.send, headers={"reply-to": "things.commands"})
        await to_thread.run_sync(forbidden, a_message(message_id="m2", name="torch"))

        async def are_done() -> bool:
            counted = Counter(seen.messages)
            return (counted["commands", "executed"], counted["commands", "unanswered"]) == (
                2,
                unanswered,
            )

        await until(are_done)

    assert await world.things() == ["lamp", "torch"]


async def test_an_answer_that_cannot_be_sent_holds_up_nobody(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One such message would otherwise come again without end, and fill the dead letters."""
    seen = SeenMessages()
    world = await new_world(observers=[seen])
    bad = [
        json.dumps({"id": "i" * 60_000, "replyto": REPLIES}).encode(),
        json.dumps({"id": "\x00" * 9_000, "source": "\x00" * 900, "replyto": REPLIES}).encode(),
        json.dumps({"id": "big", "replyto": REPLIES, "text": "x" * 70_000}).encode(),
    ]
    to_nobody = partial(outside.send, headers={"reply-to": "shop." + "x" * 30_000})
    async with consuming(broker, world, answer_to=ALLOWED):
        await to_thread.run_sync(outside.send, *bad)
        await to_thread.run_sync(to_nobody, a_message(message_id="m0"))
        good = partial(outside.send, headers={"reply-to": REPLIES})
        await to_thread.run_sync(good, a_message(message_id="m1", name="torch"))
        told = await to_thread.run_sync(replies, 3)
        dead = await to_thread.run_sync(outside.dead, 3)

    kinds = Counter((each["type"], each["data"]["command"]) for each in told)
    assert kinds == {("command_refused", None): 2, ("command_accepted", "m1"): 1}
    assert len(dead) == len(bad)
    assert Counter(seen.messages) == {
        ("commands", "executed"): 2,
        ("commands", "dead"): len(bad),
        ("commands", "unanswered"): 1,
    }
    assert max(map(len, caplog.messages)) < 2_000


async def test_a_long_answer_is_cut_and_says_how_much_is_missing(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command that was executed is never refused because its answer does not fit."""
    monkeypatch.setattr(answers_to_senders, "MAX_EVENTS", 0)
    world = await new_world()
    async with consuming(broker, world, answer_to=ALLOWED):
        ask = partial(outside.send, headers={"reply-to": REPLIES})
        await to_thread.run_sync(ask, a_message(message_id="m1"))
        (told,) = await to_thread.run_sync(replies, 1)

    assert (told["type"], told["data"]["events"]) == ("command_accepted", [])
    assert told["data"]["more"] == len(await world.event_ids()) > 0


def test_the_longest_answer_fits_into_a_message() -> None:
    """Of as many events as are listed, for the longest id and source in the longest spelling."""
    long, ids = "\\" * MAX_BYTES, cast("Any", [uuid4()] * answers_to_senders.MAX_EVENTS)
    said = answers_to_senders.CommandAccepted(long, long, ids, 10**9)

    assert cloud_events.to_command(
        id=str(uuid4()),
        source="/things",
        type="command_accepted",
        schema_version=1,
        data=said,
        context=None,
        traceparent=None,
    )


async def test_an_id_that_is_too_long_for_amqp_is_answered_without_a_correlation(
    broker: Broker,
    outside: Outside,
    replies: Callable[[int], list[dict[str, Any]]],
    new_world: NewWorld,
) -> None:
    """An id may have 500 bytes; the answer names it in its data."""
    async with consuming(broker, await new_world(), answer_to=ALLOWED):
        ask = partial(outside.send, headers={"reply-to": REPLIES})
        await to_thread.run_sync(ask, a_message(message_id="i" * 500))
        (told,) = await to_thread.run_sync(replies, 1)

    assert (told["type"], told["data"]["command"]) == ("command_accepted", "i" * 500)


async def test_deliveries_are_dispatched_though_the_answer_waits(
    broker: Broker, outside: Outside, new_world: NewWorld
) -> None:
    """They are claimed with the commit: their leases would end while a target is looked for."""
    world = await new_world()
    async with consuming(broker, world, answer_to=ALLOWED):
        ask = partial(outside.send, headers={"reply-to": "shop.nowhere"})
        await to_thread.run_sync(ask, a_message())

        async def are_delivered() -> bool:
            return bool(await world.lines()) and not await world.owed()

        await until(are_delivered)
