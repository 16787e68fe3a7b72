"""Causation: which message has caused what, for a trace and against circles."""

from uuid import uuid4

import pytest
from aftercommit import MessageOrigin
from aftercommit.errors import CausationTooDeep

from aftercommit_tests.builders import a_command
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import MAX_DEPTH, MessageContext, current_context
from aftercommit_tests.misbehaving import on_change, on_made
from aftercommit_tests.things.domain import ThingBroken, ThingMade, ThingRenamed
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
    assert str(failure.error).endswith("ping → pong")
    assert failure.retry_in is None
    assert await world.owed() == []
