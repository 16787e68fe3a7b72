"""Causation: which message has caused what, for a trace and against circles."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from aftercommit import GivenUp, Later, Limited, MessageOrigin, Otherwise, Refused, testing
from aftercommit.errors import CausationTooDeep

from aftercommit_tests.builders import a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import MAX_DEPTH, MessageContext, current_context
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.misbehaving import on_change, on_made
from aftercommit_tests.things.domain import RenameThing, ThingBroken, ThingMade, ThingRenamed
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_ids_lead_from_every_event_back_to_the_command(new_world: NewWorld) -> None:
    """One correlation id for the whole story; the causation id names the direct cause.

    Where nobody makes spans, the traces of others are not cut.
    """
    seen = {}

    async def follow(event: ThingRenamed) -> None:
        seen["follow"] = current_context.get()

    world = await new_world(event_handlers=on_change(follow))
    correlation_id = uuid4()

    received = MessageOrigin(source="/shop", correlation_id=correlation_id, traceparent=THEIRS)
    report = await world.bus.handle(a_command(), received)

    made, renamed = report.events
    assert made.context.correlation_id == correlation_id
    assert (renamed.context.causation_id, renamed.context.handler) == (made.id, "change")
    assert [event.context.traceparent for event in report.events] == [THEIRS, THEIRS]
    assert seen["follow"] == MessageContext(
        correlation_id=correlation_id,
        causation_id=renamed.id,
        handler="follow",
        depth=3,
        traceparent=THEIRS,
    )
    assert current_context.get() is None


async def test_handlers_that_cause_each_other_for_ever_are_stopped(new_world: NewWorld) -> None:
    """Each event would begin a fresh lease, so nothing else would end them."""

    async def ping(event: ThingMade | ThingRenamed, uow: UnitOfWork) -> None:
        (await uow.things.get(event.thing_id)).fall()

    async def pong(event: ThingBroken, uow: UnitOfWork) -> None:
        thing = await uow.things.get(event.thing_id)
        thing.record(ThingRenamed(thing_id=thing.id, name="lamp"))

    handlers = {**on_made(ping), ThingRenamed: [ping], ThingBroken: [pong]}
    world = await new_world(event_handlers=handlers)
    result = await world.bus.handle(a_command())

    assert len(result.events) == MAX_DEPTH
    [failure] = result.failures
    assert isinstance(failure.error, CausationTooDeep)
    assert str(failure.error).startswith("ThingRenamed would be number 101 in a chain of events")
    assert failure.retry_in is None
    assert await world.owed() == []


HOUR, LESS = timedelta(hours=1), timedelta(minutes=59)
ROUNDS = 3


async def again(event: ThingMade | ThingRenamed, uow: UnitOfWork) -> None:
    """Cause the next round."""
    if event.name.count("+") < ROUNDS:
        (await uow.things.get(event.thing_id)).rename(f"{event.name}+")


async def ask_again(event: ThingMade | ThingRenamed) -> RenameThing | None:
    """Cause the next round by a command."""
    is_last = event.name.count("+") == ROUNDS
    return None if is_last else RenameThing(thing_id=event.thing_id, name=f"{event.name}+")


async def fails(event: ThingMade | ThingRenamed) -> None:
    """Be given up."""
    raise Refused("it will never work")


async def instead(event: ThingMade | ThingRenamed, failure: GivenUp) -> RenameThing | None:
    """Cause the next round when the handler has failed for good."""
    return await ask_again(event)


@pytest.mark.parametrize(
    ("handler", "depths"),
    [
        (again, [1, 2, 3, 4]),
        (ask_again, [1, 2, 3, 4]),
        (Later(again, after=LESS), [1, 2, 3, 4]),
        (Later(again, after=HOUR), [1, 1, 1, 1]),
        (Later(ask_again, after=HOUR), [1, 1, 1, 1]),
        (Limited(Later(again, after=HOUR), at_once=1), [1, 1, 1, 1]),
        (Later(Otherwise(fails, instead, within=HOUR), after=HOUR), [1, 1, 1, 1]),
    ],
)
async def test_a_cycle_that_takes_an_hour_for_each_round_begins_anew(
    new_world: NewWorld, handler: Any, depths: list[int]
) -> None:
    """So a process that looks again every day goes on for years; it stays one trace."""
    table = {**on_made(handler), ThingRenamed: [handler]}
    world = await new_world(event_handlers=table)

    await world.bus.handle(a_command("lamp"))
    for _ in range(2 * ROUNDS):
        await world.move_clock(HOUR.total_seconds())
        await testing.deliver_due(world.application)

    events = await world.rows(tables.events.c.depth, tables.events.c.correlation_id)
    assert sorted(row.depth for row in events) == depths
    assert len({row.correlation_id for row in events}) == 1
