"""Messages of another team, on real brokers: each has one effect, and none holds up others."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import anyio
import msgspec
import pytest
from aftercommit import Observer
from aftercommit.errors import TransientError
from aiokafka import AIOKafkaConsumer  # type: ignore[import-untyped]
from anyio import fail_after, to_thread
from pika.exceptions import NackError  # type: ignore[import-untyped]

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import a_message
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.brokers.list_broker import consuming, read_command
from aftercommit_tests.extensions.brokers.other_team import (
    DEAD,
    QUEUE,
    OtherTeam,
    TeamOnKafka,
    TeamOnRabbitMQ,
    team_at,
)
from aftercommit_tests.extensions.brokers.outside import KafkaOutside, Outside, RabbitOutside
from aftercommit_tests.inside.brokers import (
    Broker,
    Channels,
    Inbound,
    Intake,
    Subscription,
    new_brokers,
)
from aftercommit_tests.inside.brokers import rabbitmq as broker_of_rabbitmq
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.things.broker_messages import SUBSCRIPTIONS, Item
from aftercommit_tests.things.domain import MakeThing, ThingId
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.check]

LIMIT_SECONDS = 90
POLLS = 2  # one may have been asked before, and the next begins when this one is known
THINGS = Channels("things")
(CATALOGUE,) = SUBSCRIPTIONS


def an_item(title: str, sku: UUID | None = None, **more: Any) -> bytes:
    """Return what the other team says of an item; it also says what we know nothing of."""
    return msgspec.json.encode({"sku": sku or uuid4(), "title": title, "price": "9.90", **more})


def intake_of(subscription: Subscription) -> Intake:
    """Return where its messages come in."""
    inlet = subscription.inlet("things")
    return Intake(inlet=inlet, read=subscription.read, source=subscription.source)


@pytest.fixture
def team(outside: Outside) -> Iterator[OtherTeam]:
    """Another team, at each broker in turn."""
    yield from _alone(team_at(outside))


@pytest.fixture
def rabbit_team(rabbitmq: RabbitOutside) -> Iterator[TeamOnRabbitMQ]:
    """Another team, at RabbitMQ."""
    yield from _alone(TeamOnRabbitMQ(rabbitmq.url))


def _alone(team: Any) -> Iterator[Any]:
    if isinstance(team, TeamOnRabbitMQ):
        team.forget_us()
        team.close_source()
    yield team
    if isinstance(team, TeamOnRabbitMQ):
        team.forget_us()
        team.close_source()


class SeenMessages(Observer):
    """Remembers what became of messages."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str]] = []

    def message(self, source: str, outcome: str) -> None:
        self.messages.append((source, outcome))


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something."""
    with fail_after(LIMIT_SECONDS):
        while True:
            if await happened():
                return
            await anyio.sleep(0.02)


async def until_things(world: World, *names: str) -> None:
    """Wait until there are these things, and no others."""

    async def are_there() -> bool:
        return await world.things() == sorted(names)

    await until(are_there)


async def until_polled(world: World) -> None:
    """Wait until the consumer has polled for pauses, and knows what it has read."""
    with asked_of(world.database) as asked:

        async def again() -> bool:
            polls = [call for call in asked if "aftercommit_handler_pauses" in call.sql]
            return len(polls) > POLLS

        await until(again)


async def until_bound(team: Any) -> None:
    """Wait until what a team publishes reaches us, as RabbitMQ keeps nothing for late queues."""
    if isinstance(team, TeamOnRabbitMQ):
        await until(lambda: to_thread.run_sync(team.is_bound))


@pytest.fixture
async def broker(outside: Outside) -> AsyncIterator[Broker]:
    """The broker, as our program knows it."""
    (broker,) = new_brokers([outside.url], THINGS).values()
    yield broker
    await broker.close()


@pytest.fixture
async def rabbit_broker(rabbitmq: RabbitOutside) -> AsyncIterator[Broker]:
    """RabbitMQ, as our program knows it."""
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()
    yield broker
    await broker.close()


@pytest.fixture
async def kafka_broker(kafka: KafkaOutside) -> AsyncIterator[Broker]:
    """Kafka, as our program knows it."""
    (broker,) = new_brokers([kafka.url], THINGS).values()
    yield broker
    await broker.close()


async def test_what_another_team_publishes_becomes_a_command_once(
    broker: Broker, outside: Outside, team: OtherTeam, new_world: NewWorld
) -> None:
    """A repetition has no second effect; what cannot be read is dead, with its reason.

    What is none of our business is counted. Commands of our own come in beside that.
    """
    seen = SeenMessages()
    world = await new_world(observers=[seen])
    lamp, broken = an_item("lamp"), b"{bad"
    await to_thread.run_sync(team.open_source)
    intakes = [intake_of(CATALOGUE), Intake(inlet=THINGS.inlet, read=read_command)]
    async with consuming(broker, world, *intakes):
        await until_bound(team)
        await to_thread.run_sync(partial(team.publish, lamp, lamp, headers={"ce_id": "i1"}))
        await to_thread.run_sync(
            partial(team.publish, an_item("gift", kind="voucher"), broken, headers={"ce_id": "i2"})
        )
        await to_thread.run_sync(
            partial(team.publish, an_item("torch"), headers={"ce_id": "i3", "traceparent": "x"})
        )
        await to_thread.run_sync(outside.send, a_message(name="own"))
        await until_things(world, "lamp", "own", "torch")
        (dead,) = await to_thread.run_sync(outside.dead, 1, DEAD)

    assert (dead.body, dead.headers["things-error"]) == (broken, "invalid-payload")
    assert dead.headers["ce_id"] == "i2"
    counted = Counter(seen.messages)
    assert counted.pop(("from.catalogue", "ignored")) >= 1  # and each question if it is bound
    assert counted == {
        ("from.catalogue", "executed"): 2,
        ("from.catalogue", "repeated"): 1,
        ("from.catalogue", "dead"): 1,
        ("commands", "executed"): 1,
    }


async def test_two_subscriptions_take_the_same_message_and_one_that_waits_holds_up_no_other(
    broker: Broker, team: OtherTeam, new_world: NewWorld
) -> None:
    """Each has a queue, or a group, of its own, and knows the message by a key of its own."""
    is_held = True

    def held(message: Inbound) -> MakeThing | None:
        if is_held:
            raise DatabaseUnavailable("not yet")
        return renamed(message)

    def renamed(message: Inbound) -> MakeThing | None:
        return MakeThing(thing_id=ThingId(uuid4()), name=f"second {message.data(Item).title}")

    world = await new_world()
    other = replace(CATALOGUE, name="other", translate=held)
    await to_thread.run_sync(team.open_source)
    async with consuming(broker, world, intake_of(other), intake_of(CATALOGUE)):
        await until_bound(team)
        await to_thread.run_sync(partial(team.publish, an_item("lamp"), headers={"ce_id": "i1"}))
        await until_things(world, "lamp")
        is_held = False
        await until_things(world, "lamp", "second lamp")


async def test_a_paused_subscription_takes_nothing_until_it_is_resumed(
    broker: Broker, team: OtherTeam, new_world: NewWorld
) -> None:
    """The pause is in the database, so another process keeps it; nothing is lost."""
    world = await new_world()
    await to_thread.run_sync(team.open_source)
    async with consuming(broker, world, intake_of(CATALOGUE)):
        await until_bound(team)
        await to_thread.run_sync(partial(team.publish, an_item("lamp"), headers={"ce_id": "i1"}))
        await until_things(world, "lamp")
        await world.pause("from.catalogue")
        await until_polled(world)
        await to_thread.run_sync(partial(team.publish, an_item("torch"), headers={"ce_id": "i2"}))
        await until_polled(world)
        assert await world.things() == ["lamp"]

    async with consuming(broker, world, intake_of(CATALOGUE)):
        await until_polled(world)
        assert await world.things() == ["lamp"]
        await world.resume("from.catalogue")
        await until_things(world, "lamp", "torch")


async def test_what_is_missing_of_another_team_is_waited_for_and_hurts_nobody_else(
    broker: Broker,
    outside: Outside,
    team: OtherTeam,
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They may be deployed later than we are. The process is ready meanwhile, and says it."""
    monkeypatch.setattr(broker_of_rabbitmq, "BINDING_SECONDS", 0.1)
    world, wrong, missing = await new_world(), dict[object, str](), dict[object, str]()
    intakes = [intake_of(CATALOGUE), Intake(inlet=THINGS.inlet, read=read_command)]
    async with consuming(broker, world, *intakes, readiness_problems=wrong, degradations=missing):

        async def is_said() -> bool:
            return any("catalogue" in each for each in missing.values()) and not wrong

        await until(is_said)
        await to_thread.run_sync(outside.send, a_message(name="own"))
        await until_things(world, "own")

        await to_thread.run_sync(team.open_source)
        await until_bound(team)
        await to_thread.run_sync(partial(team.publish, an_item("lamp"), headers={"ce_id": "i1"}))
        await until_things(world, "lamp", "own")

        async def is_over() -> bool:
            return not missing

        await until(is_over)


async def test_an_exchange_that_is_made_anew_is_bound_again(
    rabbit_broker: Broker,
    rabbit_team: TeamOnRabbitMQ,
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its bindings are gone with the old one, and no client is told."""
    monkeypatch.setattr(broker_of_rabbitmq, "BINDING_SECONDS", 0.1)
    world = await new_world()
    await to_thread.run_sync(rabbit_team.open_source)
    async with consuming(rabbit_broker, world, intake_of(CATALOGUE)):
        await until_bound(rabbit_team)
        await to_thread.run_sync(rabbit_team.close_source)
        await to_thread.run_sync(rabbit_team.open_source)
        await until_bound(rabbit_team)
        lamp = partial(rabbit_team.publish, an_item("lamp"), message_id="i1")
        await to_thread.run_sync(lamp)
        await until_things(world, "lamp")


@pytest.mark.parametrize("overflow", [None, "reject-publish"])
async def test_a_full_queue_of_ours_refuses_no_publication_of_theirs(
    rabbit_team: TeamOnRabbitMQ, overflow: str | None
) -> None:
    """One that does, as that of our commands, would stop them under a policy for its length."""
    arguments = broker_of_rabbitmq.arguments_of(CATALOGUE.inlet("things"))
    if overflow:  # what a queue of commands has, so that this test could fail
        arguments = {**arguments, "x-overflow": overflow}
    await to_thread.run_sync(rabbit_team.open_source)
    await to_thread.run_sync(
        partial(rabbit_team.make_our_queue, **arguments, **{"x-max-length": 1})
    )

    publish = partial(rabbit_team.publish, *[an_item(f"item {n}") for n in range(20)])
    if overflow:
        with pytest.raises(NackError):
            await to_thread.run_sync(publish)
    else:
        await to_thread.run_sync(publish)


async def test_messages_that_have_an_order_come_one_by_one_and_to_one_of_all_consumers(
    rabbit_broker: Broker, rabbit_team: TeamOnRabbitMQ, new_world: NewWorld
) -> None:
    """Also if there are two processes, and handling the first takes long."""
    names: list[str] = []

    def in_order(message: Inbound) -> MakeThing | None:
        item = message.data(Item)
        names.append(item.title)
        if names.count(item.title) < 3 and item.title == "item 0":
            raise DatabaseUnavailable("not yet")
        return MakeThing(thing_id=ThingId(item.sku), name=item.title)

    world, row = await new_world(), replace(CATALOGUE, translate=in_order, in_order=True)
    await to_thread.run_sync(rabbit_team.open_source)
    async with (
        consuming(rabbit_broker, world, intake_of(row)),
        consuming(rabbit_broker, world, intake_of(row)),
    ):
        await until_bound(rabbit_team)
        names.clear()
        for n in range(10):
            item = partial(rabbit_team.publish, an_item(f"item {n}"), message_id=f"i{n}")
            await to_thread.run_sync(item)
        await until_things(world, *[f"item {n}" for n in range(10)])

    assert [each for each in names if each] == ["item 0"] * 2 + [f"item {n}" for n in range(10)]


async def test_a_new_group_begins_where_its_row_says(
    kafka_broker: Broker, kafka: Outside, new_world: NewWorld
) -> None:
    """A topic keeps the past: with "earliest" a late subscriber gets it, with "latest" not."""
    team, world = team_at(kafka), await new_world()
    await to_thread.run_sync(team.open_source)
    await to_thread.run_sync(partial(team.publish, an_item("old"), headers={"ce_id": "i1"}))

    def second(message: Inbound) -> MakeThing | None:
        return MakeThing(thing_id=ThingId(uuid4()), name=f"late {message.data(Item).title}")

    late = replace(CATALOGUE, name="late", translate=second, start="latest")
    async with consuming(kafka_broker, world, intake_of(CATALOGUE), intake_of(late)):
        await until_things(world, "old")
        number = 0

        async def comes_late() -> bool:
            nonlocal number
            number += 1
            item = partial(team.publish, an_item(f"{number}"), headers={"ce_id": f"n{number}"})
            await to_thread.run_sync(item)
            return any(each.startswith("late") for each in await world.things())

        await until(comes_late)

    assert "late old" not in await world.things()


async def test_a_new_group_that_begins_at_the_end_misses_nothing_from_then_on(
    kafka_broker: Broker, kafka: Outside, new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in a pause nor in a deployment, also if there was no message before it."""
    caplog.set_level("INFO")
    team, world = team_at(kafka), await new_world()
    await to_thread.run_sync(team.open_source)
    await to_thread.run_sync(partial(team.publish, an_item("old"), headers={"ce_id": "i1"}))
    late = replace(CATALOGUE, start="latest")

    async def is_consuming() -> bool:
        return "consuming from Kafka (from.catalogue)" in caplog.text

    async with consuming(kafka_broker, world, intake_of(late)):
        await until(is_consuming)
    for number in range(3):
        item = partial(team.publish, an_item(f"{number}"), headers={"ce_id": f"n{number}"})
        await to_thread.run_sync(item)
    async with consuming(kafka_broker, world, intake_of(late)):
        await until_things(world, "0", "1", "2")


async def test_a_topic_that_is_made_anew_has_new_messages_in_the_old_places(
    kafka_broker: Broker, kafka: KafkaOutside, new_world: NewWorld
) -> None:
    """The other team replaces it while nobody consumes; ours are known by their places."""
    team, world = TeamOnKafka(kafka.servers), await new_world()
    await to_thread.run_sync(team.open_source)
    sku, none = uuid4(), partial(team.publish, headers={})
    await to_thread.run_sync(none, an_item("lamp", sku), an_item("vase"))
    async with consuming(kafka_broker, world, intake_of(CATALOGUE)):
        await until_things(world, "lamp", "vase")
    await to_thread.run_sync(team.make_anew)
    await to_thread.run_sync(none, an_item("torch"))
    async with consuming(kafka_broker, world, intake_of(CATALOGUE)):
        await until_things(world, "lamp", "torch", "vase")


async def test_an_offset_behind_the_end_of_the_topic_is_told_and_passes_over_nothing(
    kafka_broker: Broker, kafka: KafkaOutside, new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the offsets of the group outlive the topic, they belong to another one."""
    team, world = TeamOnKafka(kafka.servers), await new_world()
    await to_thread.run_sync(team.open_source)
    await to_thread.run_sync(partial(kafka.set_offset, QUEUE, "catalogue", 7))
    await to_thread.run_sync(partial(team.publish, an_item("lamp"), headers={}))

    async with consuming(kafka_broker, world, intake_of(replace(CATALOGUE, start="latest"))):
        await until_things(world, "lamp")

    assert "the topic catalogue was replaced" in caplog.text


@pytest.mark.parametrize("topic", ["catalogue", "things.commands"])
async def test_what_a_topic_has_deleted_before_its_group_came_to_it_is_told_once(
    topic: str,
    kafka_broker: Broker,
    kafka: KafkaOutside,
    new_world: NewWorld,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Consumers were down for longer than its retention: nobody else would find out.

    The server of the tests deletes nothing, so it only says that it has.
    """
    names = ["gone", "gone too", "kept"]
    await to_thread.run_sync(team_at(kafka).open_source)
    if of_ours := topic == kafka_broker.channels.commands:
        bodies = [a_message(message_id=each, name=each) for each in names]
        await to_thread.run_sync(kafka.send, *bodies)
    else:
        await to_thread.run_sync(team_at(kafka).publish, *map(an_item, names))
    intake = Intake(inlet=THINGS.inlet, read=read_command) if of_ours else intake_of(CATALOGUE)
    await to_thread.run_sync(partial(kafka.set_offset, intake.inlet.group, topic, 1))

    async def first_of(_: object, places: Sequence[Any]) -> Mapping[Any, int]:
        return {each: 2 if each.partition == 0 else 0 for each in places}

    monkeypatch.setattr(AIOKafkaConsumer, "beginning_offsets", first_of)
    world = await new_world()
    for _ in range(2):
        async with consuming(kafka_broker, world, intake):
            await until_things(world, "kept")

    (told,) = [each for each in caplog.messages if "were deleted" in each]
    assert f"1 messages of the topic {topic} were deleted before" in told
    assert "partition 0, from offset 1 on" in told


async def test_a_consumer_that_a_frozen_kafka_does_not_let_go_leaves_nothing_behind(
    kafka_broker: Broker, kafka: KafkaOutside, new_world: NewWorld
) -> None:
    """It would stay in its group by its heart beats, and keep its partitions from the next one."""
    world = await new_world()
    intake = Intake(inlet=THINGS.inlet, read=read_command)
    before = asyncio.all_tasks()
    async with AsyncExitStack() as frozen:
        async with consuming(kafka_broker, world, intake):
            await to_thread.run_sync(kafka.send, a_message(name="first"))
            await until_things(world, "first")
            frozen.enter_context(kafka.frozen())

        assert asyncio.all_tasks() == before

    await to_thread.run_sync(kafka.send, a_message(message_id="m2", name="second"))
    async with consuming(kafka_broker, world, intake):
        await until_things(world, "first", "second")


async def test_what_cannot_be_decoded_is_a_dead_letter_and_never_translated(
    kafka_broker: Broker, kafka: KafkaOutside, new_world: NewWorld
) -> None:
    """Nobody knows whether it concerned us: a translation would pass it over."""
    seen = SeenMessages()
    world = await new_world(observers=[seen])
    await to_thread.run_sync(team_at(kafka).open_source)
    await to_thread.run_sync(partial(kafka.send_undecodable, topic="catalogue"))
    nobody = replace(CATALOGUE, translate=lambda _: None)

    async with consuming(kafka_broker, world, intake_of(nobody)):
        (dead,) = await to_thread.run_sync(kafka.dead, 1, DEAD)

    assert (dead.body, dead.headers["things-error"]) == (b"", "not-decoded")
    assert "'utf-8' codec can't decode" in dead.headers["things-reason"]
    assert seen.messages == [("from.catalogue", "dead")]


OUR_QUEUE = broker_of_rabbitmq.arguments_of(CATALOGUE.inlet("things"))


@pytest.mark.parametrize("kind", [OUR_QUEUE, {"x-queue-type": "quorum"}, {}])
async def test_an_order_that_the_queue_does_not_keep_is_refused(
    kind: Mapping[str, str | int],
    rabbit_broker: Broker,
    rabbit_team: TeamOnRabbitMQ,
) -> None:
    """A release that asks for it would else go on as before, with several consumers at once.

    RabbitMQ names one difference only, which need not be the one that breaks the order.
    """
    await to_thread.run_sync(rabbit_team.open_source)
    await to_thread.run_sync(partial(rabbit_team.make_our_queue, **kind))
    in_order = replace(CATALOGUE, in_order=True)

    with pytest.raises(TransientError, match="may keep no order"):
        async with rabbit_broker.consume(in_order.inlet("things"), 1, print):
            pass
