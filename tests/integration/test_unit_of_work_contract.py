"""What every unit of work promises: the fake's and each database's."""

import gc
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import pytest
from aftercommit.claims import Claim, CommandWork, Committed
from aftercommit.envelopes import INTERNAL, MessageOrigin
from aftercommit.errors import ConcurrentUpdate, DeliverySuperseded, MessageAlreadyHandled
from anyio.lowlevel import checkpoint

from allocation.domain.aggregate import Aggregate
from tests.builders import HANDLER_NAMES, a_command_envelope
from tests.things import (
    HANDLERS_OF_THING_MADE,
    Thing,
    ThingBroken,
    ThingMade,
    a_thing,
    a_thing_id,
    things_of,
    write,
)
from tests.worlds import Unit, World, a_uow

pytestmark = pytest.mark.anyio


async def store(world: World, *aggregates: Aggregate) -> None:
    async with a_uow(world) as uow:
        for aggregate in aggregates:
            uow._store.add(aggregate)


def claims_of(handler: str, scope: Unit) -> list[Claim]:
    return [claim for claim in scope.committed.claims if claim.handler == handler]


async def test_a_commit_stores_state_events_and_one_delivery_for_each_handler(
    world: World,
) -> None:
    """All three in one transaction is what makes delivery durable."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing("ivan"))

    assert await world.things() == ["ivan"]
    assert await world.event_ids() == {event.id for event in scope.committed.events}
    owed = await world.deliveries()
    assert {handler for _, handler in owed} == {*HANDLERS_OF_THING_MADE}
    assert {row.attempts for row in owed.values()} == {1}


async def test_a_unit_of_work_cannot_be_opened_or_committed_by_a_handler(world: World) -> None:
    """The habit of the book, `async with uow`, would commit in the middle of a handler."""
    async with a_uow(world) as uow:
        assert not {"__aenter__", "__aexit__", "commit"} & set(dir(uow))


async def test_nothing_is_stored_after_the_end_of_a_unit_of_work(world: World) -> None:
    """A task that a handler has left behind must not open a transaction that nobody ends."""
    async with a_uow(world) as uow:
        pass

    with suppress(Exception):
        things_of(uow).add(a_thing())
    with pytest.raises(Exception, match=r"(?i)closed|over"):
        await things_of(uow).find(a_thing_id())

    await store(world, a_thing("other"))
    assert await world.things() == ["other"]


async def test_an_event_is_stored_also_if_nothing_else_has_changed(world: World) -> None:
    """And though nobody holds the aggregate any more that has recorded it."""
    thing = a_thing()
    await store(world, thing)

    async with (scope := a_uow(world)) as uow:
        (await things_of(uow).get(thing.id)).record(ThingBroken(thing_id=thing.id))
        gc.collect()

    assert len(scope.committed.events) == 1
    assert {event.id for event in scope.committed.events} <= await world.event_ids()


async def test_the_event_of_an_aggregate_behind_another_one_is_stored(world: World) -> None:
    """It was made through the other one, and is stored with it. What is none is passed over."""
    thing = a_thing()

    class Pair(Aggregate):
        """It makes a thing, as others make lines of an order."""

        @property
        def key(self) -> str:
            return "PAIR"

        @property
        def new_parts(self) -> tuple[Any, ...]:
            return (thing,)

    async with (scope := a_uow(world)) as uow:
        uow._store.seen += [object(), Pair()]

    assert [type(event.event) for event in scope.committed.events] == [ThingMade]
    assert await world.things() == ["lamp"]


async def test_an_error_rolls_back(world: World) -> None:
    """Half a change is worse than none."""
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world) as uow:
            things_of(uow).add(a_thing())
            raise ZeroDivisionError

    assert await world.things() == []
    assert await world.deliveries() == {}


async def test_cancellation_rolls_back_and_leaves_the_database_usable(world: World) -> None:
    """A cancelled request must not hold a lock, a connection or half a change."""
    with anyio.CancelScope() as scope:
        async with a_uow(world) as uow:
            things_of(uow).add(a_thing())
            scope.cancel()
            await checkpoint()

    assert scope.cancelled_caught
    assert await world.things() == []
    await store(world, a_thing())
    assert len(await world.things()) == 1


async def test_events_and_claims_are_available_only_after_the_commit(world: World) -> None:
    """Work that may still be rolled back must not speak."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
        before_the_commit = scope.committed

    assert before_the_commit == Committed()
    assert [type(event.event) for event in scope.committed.events] == [ThingMade]
    assert {claim.handler for claim in scope.committed.claims} == {*HANDLERS_OF_THING_MADE}


async def test_work_that_failed_to_commit_has_no_events(world: World) -> None:
    """An event of work that was rolled back would be a lie."""
    await store(world, thing := a_thing())

    with pytest.raises(ConcurrentUpdate):
        async with (scope := a_uow(world)) as uow:
            things_of(uow).add(a_thing(thing_id=thing.id))

    assert scope.committed == Committed()
    assert len(await world.event_ids()) == 1


async def test_one_id_twice_at_once_is_a_conflict(world: World) -> None:
    """The loser tries again and finds what the winner has made."""
    await store(world, thing := a_thing())

    with pytest.raises(ConcurrentUpdate):
        await store(world, a_thing("other", thing_id=thing.id))


async def test_a_delivery_is_settled_with_the_commit_of_its_handler(world: World) -> None:
    """One transaction for effect and settlement is what makes the effect happen exactly once."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    (delivery,) = claims_of("write_down", scope)

    async with a_uow(world, delivery) as handling:
        write(handling, "ivan")

    assert await world.lines() == ["ivan"]
    assert "write_down" not in {handler for _, handler in await world.deliveries()}


async def test_a_superseded_delivery_has_no_effect(world: World) -> None:
    """Two owners of one delivery must not both do the work."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    (late,) = claims_of("write_down", scope)
    await world.move_clock(world.policy.lease_seconds + 1)
    await world.outbox().claim(10, HANDLER_NAMES)

    with pytest.raises(DeliverySuperseded):
        async with a_uow(world, late) as handling:
            write(handling, "ivan")

    assert await world.lines() == []
    assert "write_down" in {handler for _, handler in await world.deliveries()}


async def test_a_received_message_is_noted_with_the_commit_of_its_command(world: World) -> None:
    """So its command takes effect once, however often it comes."""
    message = MessageOrigin(source="/shop", id="m1")
    async with a_uow(world, received=message) as uow:
        things_of(uow).add(a_thing("first"))

    with pytest.raises(MessageAlreadyHandled, match="'m1' from '/shop'"):
        async with a_uow(world, received=message):
            pytest.fail("the command would be executed again")

    for other in (MessageOrigin(source="/shop", id="m2"), MessageOrigin(source="/x", id="m1")):
        async with a_uow(world, received=other) as uow:
            things_of(uow).add(a_thing(f"{other.id}{other.source[1:]}"))
    assert len(await world.things()) == 3


async def test_a_command_that_was_accepted_leaves_a_row_and_a_refused_one_none(
    world: World,
) -> None:
    """Also one that nobody could recognize: it is a part of what happened."""
    for name in ("first", "second"):
        async with world.new_uow(accepted := a_command_envelope()) as uow:
            things_of(uow).add(a_thing(name))
        assert accepted.id in await world.commands()
    with pytest.raises(ZeroDivisionError):
        async with world.new_uow(a_command_envelope()):
            raise ZeroDivisionError

    assert len(await world.commands()) == 2


async def test_a_command_from_outside_that_changed_nothing_leaves_a_row_only_if_it_came_with_an_id(
    world: World,
) -> None:
    """A script that repeats itself every night fills no history; a message has to be recognized."""
    thing = a_thing()
    async with a_uow(world) as uow:
        things_of(uow).add(thing)
    (first,) = await world.commands()

    for received in (INTERNAL, MessageOrigin(source="/shop", id="m1")):
        async with a_uow(world, received=received) as uow:
            await things_of(uow).get(thing.id)
        assert len(await world.commands()) == 1 + (received is not INTERNAL)

    async with world.new_uow(logging := a_command_envelope()) as uow:
        write(uow, "ivan")
    assert {first, logging.id} < await world.commands()


async def test_a_message_whose_command_failed_is_not_noted(world: World) -> None:
    """It has to be tried again."""
    message = MessageOrigin(source="/shop", id="m1")
    with pytest.raises(ZeroDivisionError):
        async with a_uow(world, received=message) as uow:
            things_of(uow).add(a_thing())
            raise ZeroDivisionError

    async with a_uow(world, received=message) as uow:
        things_of(uow).add(a_thing())

    assert await world.things() == ["lamp"]


async def test_of_two_copies_at_once_one_takes_effect(world: World) -> None:
    """The second waits for the first, and is recognized before the command could be refused."""
    message = MessageOrigin(source="/shop", id="m1")
    outcomes: list[str] = []

    async def make() -> None:
        try:
            async with a_uow(world, received=message) as uow:
                things_of(uow).add(a_thing())
            outcomes.append("stored")
        except MessageAlreadyHandled:
            outcomes.append("recognized")

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(make)

    assert sorted(outcomes) == ["recognized"] * 3 + ["stored"]
    assert len(await world.things()) == 1


async def an_answer_about(world: World, thing: Thing) -> CommandWork:
    """Make a thing, and return a command that settles the delivery of its announcement."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(thing)
    [claim] = claims_of("announce", scope)
    return replace(a_command_envelope(), settles=claim)


async def assert_recorded(world: World, answer: CommandWork) -> None:
    assert answer.settles
    assert (answer.settles.envelope.id, answer.settles.handler) in await world.finished()
    assert answer.id in await world.commands()
    assert len(await world.commands()) == 2


async def test_an_answer_is_recorded_and_settles_its_delivery(world: World) -> None:
    """In one transaction; whoever has lost the lease stores neither."""
    answer = await an_answer_about(world, a_thing())

    async with world.new_uow(answer) as uow:
        write(uow, "answer")
    with pytest.raises(DeliverySuperseded):
        async with world.new_uow(replace(answer, id=uuid4())) as uow:
            write(uow, "again")

    assert await world.lines() == ["answer"]
    await assert_recorded(world, answer)


async def test_an_answer_that_changes_nothing_is_recorded_and_settles_its_delivery(
    world: World,
) -> None:
    """That its delivery is done is a change, and the trace shows what the outside has said."""
    thing = a_thing("new")
    answer = await an_answer_about(world, thing)

    async with (scope := world.new_uow(answer)) as uow:
        (await things_of(uow).get(thing.id)).rename("new")

    assert scope.committed == Committed()
    await assert_recorded(world, answer)
