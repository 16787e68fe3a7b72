"""What every unit of work promises, on each database."""

import gc
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import anyio
import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import (
    ConcurrentUpdate,
    DeliverySuperseded,
    InvalidPayload,
    MessageAlreadyHandled,
)
from anyio.lowlevel import checkpoint
from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError

from aftercommit_tests.builders import NAMES, a_command_work, a_thing
from aftercommit_tests.inside.claims import INTERNAL, Committed
from aftercommit_tests.things.domain import (
    NameTaken,
    Thing,
    ThingMade,
    ThingRenamed,
)
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


async def store(world: World, *things: Thing) -> None:
    async with world.a_uow() as uow:
        for thing in things:
            uow.things.add(thing)


async def test_a_commit_stores_state_events_and_one_delivery_for_each_handler(
    world: World,
) -> None:
    """All three in one transaction is what makes delivery durable."""
    async with (unit := world.a_uow()) as uow:
        uow.things.add(a_thing("lamp"))
        before_the_commit = unit.committed

    assert await world.things() == ["lamp"]
    assert [type(event.event) for event in unit.committed.events] == [ThingMade]
    assert await world.event_ids() == {event.id for event in unit.committed.events}
    assert before_the_commit == Committed()  # work that may still be rolled back must not speak
    assert sorted(claim.handler for claim in unit.committed.claims) == NAMES == await world.owed()
    assert {row.attempts for row in (await world.deliveries()).values()} == {1}


async def test_an_event_is_stored_also_if_nothing_else_has_changed(world: World) -> None:
    """And though nobody holds the aggregate any longer that has recorded it."""
    thing = a_thing()
    await store(world, thing)

    async with (unit := world.a_uow()) as uow:
        (await uow.things.get(thing.id)).polish()
        gc.collect()

    assert len(unit.committed.events) == 1
    assert {event.id for event in unit.committed.events} <= await world.event_ids()


async def test_an_event_that_no_aggregate_has_is_stored_too(world: World) -> None:
    """Such as one about what is not there; it says itself what it is about."""
    async with (unit := world.a_uow()) as uow:
        uow.things.add(thing := a_thing("lamp"))
        uow.transaction.record(ThingRenamed(thing_id=thing.id, name="chair"), subject=thing.id)

    recorded = [(type(each.event), each.subject) for each in unit.committed.events]
    assert recorded == [(ThingRenamed, str(thing.id)), (ThingMade, str(thing.id))]
    assert await world.event_ids() == {each.id for each in unit.committed.events}


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_error_rolls_back(world: World, is_cancelled: bool) -> None:
    """Half a change is worse than none. No lock and no connection is held after a cancellation."""
    with anyio.CancelScope() as scope, suppress(ZeroDivisionError):
        async with world.a_uow() as uow:
            uow.things.add(a_thing())
            await uow.transaction.flush()
            if not is_cancelled:
                raise ZeroDivisionError
            scope.cancel()
            await checkpoint()

    assert scope.cancelled_caught == is_cancelled
    assert (await world.things(), await world.deliveries()) == ([], {})
    await store(world, a_thing())
    assert await world.things() == ["lamp"]


async def test_work_that_failed_to_commit_has_no_events(world: World) -> None:
    """An event of work that was rolled back would be a lie.

    One id twice at once is a conflict: the loser tries again, and finds what the winner has made.
    """
    await store(world, thing := a_thing())

    with pytest.raises(ConcurrentUpdate):
        async with (unit := world.a_uow()) as uow:
            uow.things.add(a_thing("other", thing_id=thing.id))

    assert unit.committed == Committed()
    assert len(await world.event_ids()) == 1


async def test_work_whose_commit_is_refused_has_no_events(world: World) -> None:
    """By a constraint that is checked at the end: until then, everything was accepted."""
    refused = await refusing_commits(world)

    with pytest.raises(IntegrityError):
        async with (unit := world.a_uow()) as uow:
            uow.things.add(a_thing())
            await uow.transaction.execute(refused)

    assert unit.committed == Committed()
    assert (await world.things(), await world.event_ids()) == ([], set())


async def refusing_commits(world: World) -> TextClause:
    """Return a statement that is accepted, and whose commit is not."""
    key = "REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED"
    kind = "CHAR(32)" if world.database.backend.single_writer else "UUID"
    await world.execute(text(f"CREATE TABLE parts (thing_id {kind} {key})"))
    return text(f"INSERT INTO parts VALUES ('{uuid4()}')")


async def test_a_rule_that_only_the_database_can_check_is_told_in_its_words(world: World) -> None:
    """Also before the commit: a query may have to write what was changed."""
    await store(world, a_thing("lamp"))

    for early in (False, True):
        with pytest.raises(NameTaken, match="there is a thing called lamp"):
            async with world.a_uow() as uow:
                uow.things.add(a_thing("lamp"))
                await (uow.transaction.flush() if early else checkpoint())

    assert len(await world.event_ids()) == 1


async def test_an_event_over_a_megabyte_is_refused_by_the_commit(world: World) -> None:
    """Each worker, consumer and page would have to read it, again and again."""
    with pytest.raises(InvalidPayload, match="more than 1000000"):
        async with world.a_uow() as uow:
            uow.things.add(thing := a_thing())
            thing.record(ThingRenamed(thing_id=thing.id, name="x" * 1_000_000))

    assert await world.things() == []


async def test_a_delivery_is_completed_with_the_commit_of_its_handler(world: World) -> None:
    """One transaction for effect and completion is what makes the effect happen exactly once."""
    claim = (await world.make_thing())["write_down"]

    async with world.a_uow(claim) as uow:
        uow.write("lamp")

    assert await world.lines() == ["lamp"]
    assert "write_down" not in await world.owed()


async def test_who_has_lost_a_delivery_stores_nothing_of_what_it_has_caused(world: World) -> None:
    """Neither its changes nor its events: whoever has taken the delivery over does the same."""
    late = (await world.make_thing("lamp"))["write_down"]
    await world.end_leases()
    assert await world.delivery_store().claim(1, ["write_down"])

    with pytest.raises(DeliverySuperseded):
        async with world.a_uow(late) as uow:
            uow.things.add(a_thing("torch"))

    assert await world.things() == ["lamp"]
    assert len(await world.event_ids()) == 1
    assert "write_down" in await world.owed()


MESSAGE = MessageOrigin(source="/shop", id="m1")


async def test_a_received_message_is_noted_with_the_commit_of_its_command(world: World) -> None:
    """So its command takes effect once, however often it comes; if it failed, it is tried again."""
    with pytest.raises(ZeroDivisionError):
        async with world.a_uow(received=MESSAGE):
            raise ZeroDivisionError
    async with world.a_uow(received=MESSAGE) as uow:
        uow.things.add(a_thing("first"))

    with pytest.raises(MessageAlreadyHandled, match="'m1' from '/shop'"):
        async with world.a_uow(received=MESSAGE):
            pytest.fail("the command would be executed again")

    for other in (replace(MESSAGE, id="m2"), replace(MESSAGE, source="/x")):
        async with world.a_uow(received=other) as uow:
            uow.things.add(a_thing(f"{other.id}{other.source}"))
    assert len(await world.things()) == 3


async def test_of_two_copies_at_once_one_takes_effect(world: World) -> None:
    """The second waits for the first, and is recognized before the command could be refused."""
    outcomes: list[str] = []

    async def make() -> None:
        try:
            async with world.a_uow(received=MESSAGE) as uow:
                uow.things.add(a_thing())
            outcomes.append("stored")
        except MessageAlreadyHandled:
            outcomes.append("recognized")

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(make)

    assert sorted(outcomes) == ["recognized"] * 3 + ["stored"]
    assert await world.things() == ["lamp"]


async def test_a_command_leaves_a_row_if_it_changed_something_or_came_with_an_id(
    world: World,
) -> None:
    """A script that repeats itself every night fills no history; a message has to be recognized.

    One that was refused leaves none.
    """
    thing = a_thing()
    async with world.new_uow(making := a_command_work()) as uow:
        uow.things.add(thing)
    async with world.new_uow(writing := a_command_work()) as uow:
        uow.write("lamp")
    async with world.new_uow(received := a_command_work(MESSAGE)) as uow:
        await uow.things.get(thing.id)
    async with world.new_uow(a_command_work(INTERNAL)) as uow:
        await uow.things.get(thing.id)
    with pytest.raises(ZeroDivisionError):
        async with world.new_uow(a_command_work()):
            raise ZeroDivisionError

    assert await world.commands() == {making.id, writing.id, received.id}


@pytest.mark.parametrize("name", ["new", "lamp"])
async def test_an_answer_is_recorded_and_completes_its_delivery(world: World, name: str) -> None:
    """In one transaction; anyone who has lost the lease stores neither.

    Also an answer that changes nothing: that its delivery is done is a change, and the trace shows
    what the outside has said.
    """
    claim = (await world.make_thing("lamp"))["announce"]
    answer = replace(a_command_work(), completes=claim)
    event: Any = claim.envelope.event

    async with (unit := world.new_uow(answer)) as uow:
        (await uow.things.get(event.thing_id)).rename(name)
    with pytest.raises(DeliverySuperseded):
        async with world.new_uow(replace(answer, id=uuid4())) as uow:
            uow.write("again")

    assert len(unit.committed.events) == (name == "new")
    assert (await world.things(), await world.lines()) == ([name], [])
    assert (claim.envelope.id, "announce") in await world.finished()
    commands = await world.commands()
    assert (answer.id in commands, len(commands)) == (True, 2)
