"""A command from a broker takes effect once, and no message is lost: the consumer, step by step."""

import random

import anyio
import anyio.lowlevel
import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import ConcurrentUpdate, InvalidPayload, MessageAlreadyHandled
from anyio import create_memory_object_stream, create_task_group, fail_after, to_thread

from aftercommit_tests.builders import a_command, a_message, an_envelope
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.brokers.list_broker import Failing, ListBroker, consuming
from aftercommit_tests.extensions.brokers.outside import COMMANDS, DEAD, Outside, RabbitOutside
from aftercommit_tests.inside.brokers import MAX_BYTES, Channels, ReceivedMessage, new_brokers
from aftercommit_tests.inside.errors import BrokerUnavailable, DatabaseUnavailable
from aftercommit_tests.things.domain import ThingNotFound
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.check]

AWAY, MISTAKE = DatabaseUnavailable("it is locked"), ZeroDivisionError()
THINGS = Channels("things")
INLET = THINGS.inlet
NO_JSON = InvalidPayload("a command", "no JSON")


async def test_a_message_whose_acknowledgement_is_lost_has_one_effect(
    broker: ListBroker, new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes again, and is acknowledged then, also if the world has moved on since."""
    handler, message = Failing(), a_message()
    world = await new_world(**handler.handlers())
    broker.ack_error = ConnectionError("too late")
    async with consuming(broker, world):
        broker.put(message)
        while "could not be acknowledged and will arrive again: too late" not in caplog.text:
            await anyio.lowlevel.checkpoint()
        broker.ack_error = None
        handler.errors = [ThingNotFound("t1")]
        await broker.handle_in_turn(message)

    assert await world.lines() == world.bell.texts == ["lamp"]
    assert broker.dead_lettered == []


async def test_another_command_under_an_id_that_was_used_is_a_dead_letter(
    broker: ListBroker, new_world: NewWorld
) -> None:
    """The sender believes that it was done; acknowledged in silence, nobody would ever know."""
    first, other = a_message(), a_message(name="torch")
    async with consuming(broker, await new_world()):
        await broker.handle_in_turn(first, first, other)

    assert broker.dead_lettered == [(other, "MessageIdReused")]


@pytest.mark.parametrize(
    "errors", [[AWAY] * 20, [ConcurrentUpdate()] * 20, [*[AWAY] * 20, MISTAKE, MISTAKE]]
)
async def test_what_may_work_later_is_tried_again_however_often(
    broker: ListBroker, new_world: NewWorld, errors: list[Exception]
) -> None:
    """It is neither acknowledged before it worked, nor dead-lettered: waiting is no mistake."""
    handler = Failing([*errors])
    world = await new_world(**handler.handlers())
    async with consuming(broker, world):
        await broker.handle_in_turn(a_message())

    assert (handler.errors, broker.dead_lettered) == ([], [])
    assert await world.things() == ["lamp"]


@pytest.mark.parametrize("is_stopped", [True, False])
async def test_a_message_that_waits_is_left_to_the_broker_when_its_connection_ends(
    broker: ListBroker, new_world: NewWorld, is_stopped: bool
) -> None:
    """It comes again: to the next process, or over a new connection, which it does not hold up."""
    handler = Failing([AWAY] * 10**6)
    world = await new_world(**handler.handlers())
    async with consuming(broker, world) as stop:
        broker.put(a_message())
        while handler.calls <= 2:
            await anyio.lowlevel.checkpoint()
        if is_stopped:
            stop.set()
        else:
            broker.cut()
            while broker.opened < 2:
                await anyio.lowlevel.checkpoint()
            handler.errors.clear()
            await broker.handle_in_turn(a_message())

    assert len(broker.acknowledged) == (0 if is_stopped else 1)
    assert broker.dead_lettered == []


async def test_a_process_is_not_ready_while_nothing_is_consumed(
    broker: ListBroker, new_world: NewWorld
) -> None:
    """Messages that others send meanwhile wait, or are lost if there is no queue."""
    readiness_problems: dict[object, str] = {}
    broker.is_away = True

    async with consuming(broker, await new_world(), readiness_problems=readiness_problems):
        while not readiness_problems:
            await anyio.lowlevel.checkpoint()
        assert list(readiness_problems.values()) == ["nothing is consumed from Fake"]
        broker.is_away = False
        await broker.handle_in_turn(a_message())
        assert not readiness_problems
        broker.is_away = True
        broker.cut()
        while not readiness_problems:
            await anyio.lowlevel.checkpoint()


async def test_the_longest_id_fits_into_every_database(world: World) -> None:
    """Or its message would wait forever, and hold up what comes after it."""
    letters = [chr(n) for n in range(0x4E00, 0x9FFF)]  # of three bytes each, hard to compress
    source, message_id = ("".join(random.sample(letters, MAX_BYTES // 3)) for _ in range(2))
    received = MessageOrigin(source=source, id=message_id)
    await world.bus.execute(a_command(), received)

    with pytest.raises(MessageAlreadyHandled):
        await world.bus.execute(a_command(), received)


async def test_no_more_messages_come_than_may_be_in_flight(outside: Outside) -> None:
    """The rest is left to the broker, or to other consumers; Kafka is asked for one at a time."""
    (broker,) = new_brokers([outside.url], THINGS).values()
    await to_thread.run_sync(outside.send, *[a_message(message_id=f"m{n}") for n in range(5)])
    in_flight = {"rabbitmq": 2, "kafka": 1}[outside.kind]
    put, taken = create_memory_object_stream[ReceivedMessage](5)

    async with (
        put,
        taken,
        broker.consume(INLET, 2, print) as messages,
        create_task_group() as group,
    ):

        async def take() -> None:
            async for message in messages:
                await put.send(message)

        group.start_soon(take)
        with fail_after(60):
            held = [await taken.receive() for _ in range(in_flight)]
            for _ in range(5 - in_flight):
                await anyio.wait_all_tasks_blocked()
                assert taken.statistics().current_buffer_used == 0
                await held.pop(0).ack()
                held.append(await taken.receive())
        group.cancel_scope.cancel()


async def test_a_queue_that_was_there_before_is_used(
    rabbitmq: RabbitOutside, caplog: pytest.LogCaptureFixture
) -> None:
    """Also a classic one, of a version before; what it cannot do is told at start."""
    await to_thread.run_sync(rabbitmq.replace_queue, COMMANDS)
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()

    async with broker.consume(INLET, 20, print) as messages:
        await to_thread.run_sync(rabbitmq.send, a_message())
        await (await anext(messages)).ack()

    assert "the queue things.commands is not of the kind" in caplog.text


async def test_a_queue_that_is_deleted_ends_the_session_and_is_made_again(
    rabbitmq: RabbitOutside,
) -> None:
    """As a lost connection does: silent, it would take nothing more, and nobody would know."""
    (broker,) = new_brokers([rabbitmq.url], THINGS).values()

    async with (
        create_task_group() as group,
        broker.consume(INLET, 20, print) as messages,
    ):
        assert await to_thread.run_sync(rabbitmq.consumers, COMMANDS) == 1  # as soon as it is ready
        for name in (DEAD, COMMANDS):
            group.start_soon(to_thread.run_sync, rabbitmq.delete_queue, name)
        either = "the consumer was cancelled; its queue may be deleted|the connection was lost"
        with fail_after(60), pytest.raises(BrokerUnavailable, match=either):
            await anext(messages)
    async with broker.consume(INLET, 20, print) as messages:
        await to_thread.run_sync(rabbitmq.declare_as_described)  # they are there, as described
        await to_thread.run_sync(rabbitmq.send, a_message())
        await (await anext(messages)).ack()


async def test_two_applications_share_a_broker_and_no_message(rabbitmq: RabbitOutside) -> None:
    """A command goes to whom it was sent; what is published or dead-lettered stays apart, too."""
    shop_channels, command = Channels("shop"), a_message()
    (ours,), (shop,) = (
        new_brokers([rabbitmq.url], channels).values() for channels in (THINGS, shop_channels)
    )
    try:
        async with (
            shop.consume(shop.channels.inlet, 1, print),
            ours.consume(ours.channels.inlet, 1, print) as commands,
        ):
            await to_thread.run_sync(rabbitmq.send, command)
            with fail_after(60):
                message = await anext(commands)
            assert message.body == command
            await shop.dead_letter(
                message, InvalidPayload("a command", "no JSON"), shop.channels.dead_letters
            )
            await message.ack()
            published = an_envelope()
            await shop.publish(an_envelope())
            await ours.publish(published)

        names = shop_channels.commands, shop_channels.dead_letters, DEAD
        counts = [await to_thread.run_sync(rabbitmq.count, name) for name in names]
        assert counts == [0, 1, 0]
        [seen] = await to_thread.run_sync(rabbitmq.events, bool)
        assert str(published.id).encode() in seen.body
    finally:
        await ours.close()
        await shop.close()
        for name in (shop_channels.commands, shop_channels.dead_letters):
            await to_thread.run_sync(rabbitmq.delete_queue, name)


async def test_what_another_service_lacks_is_said_at_once_and_again_each_hour(
    broker: ListBroker, new_world: NewWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """A line at the start is in the log of last week when somebody looks."""
    missing = "there is no exchange catalogue"
    broker.lacks = [missing, missing, missing, None, missing]
    times = iter([10.0, 3609.0, 3610.0, 3611.0])
    lacking = dict[object, str]()
    world = await new_world()
    async with consuming(broker, world, degradations=lacking, clock=lambda: next(times)):
        await broker.handle_in_turn(a_message())

    assert [*lacking.values()] == [missing]
    assert caplog.text.count(missing) == 3
