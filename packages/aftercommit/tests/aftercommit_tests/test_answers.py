"""Answers: a handler with an effect outside returns a command, which its delivery stores once."""

import random
from collections.abc import Callable
from dataclasses import replace

import anyio
import pytest
from aftercommit import IdempotencyKey
from aftercommit.errors import ConcurrentUpdate, UnexpectedAnswer

from aftercommit_tests.builders import POLICY, EventHandlers, a_command, a_thing_id
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import CONFLICT_DELAY
from aftercommit_tests.inside.stored import commands
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made
from aftercommit_tests.test_conflicts import MANY, Conflicts
from aftercommit_tests.test_time_limits import PATIENT
from aftercommit_tests.things.domain import Command, RenameThing, ThingMade, ThingNotFound
from aftercommit_tests.things.handlers import HANDLERS, rename_thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

LAMP = a_command("lamp")
ANSWER = RenameThing(thing_id=LAMP.thing_id, name="the answer")


def asking(answer: Command | None, called: Callable[[IdempotencyKey], object]) -> EventHandlers:
    """Return a handler with an external effect, which returns what the outside has answered."""

    async def ask(event: ThingMade, idempotency_key: IdempotencyKey) -> RenameThing | None:
        called(idempotency_key)
        return answer  # type: ignore[return-value]

    return on_made(ask)


async def test_the_answer_of_the_outside_is_stored_with_the_delivery(new_world: NewWorld) -> None:
    """The returned command is executed, recorded, and a part of the trace; its events follow."""
    world = await new_world(event_handlers=asking(ANSWER, str))

    [claim] = (await world.bus.execute(LAMP)).claims
    result = await world.bus.run([claim])

    assert (result.failures, await world.deliveries()) == ([], {})
    assert await world.things() == ["the answer"]
    rows = await world.rows(*commands.c)
    [answer] = [row for row in rows if row.source == "ask"]
    assert answer.correlation_id == claim.context.correlation_id
    assert answer.causation_id == claim.envelope.id
    [renamed] = result.events
    assert (renamed.context.causation_id, renamed.context.depth) == (answer.id, 2)


async def test_an_answer_that_a_rule_refuses_is_parked_with_what_it_says(
    new_world: NewWorld,
) -> None:
    """The effect has happened: an operator needs to know what the outside has said."""
    answer = RenameThing(thing_id=a_thing_id(), name="torch")
    world = await new_world(event_handlers=asking(answer, str))

    [failure] = (await world.bus.handle(LAMP)).failures

    assert isinstance(failure.error, ThingNotFound)
    assert failure.retry_in is None
    assert failure.error.__notes__ == [f"ask had returned {answer!r}"]


async def test_what_the_annotation_does_not_say_is_no_answer(new_world: NewWorld) -> None:
    """Nobody has checked at start that it can be stored."""
    world = await new_world(event_handlers=asking(a_command(), str))

    [failure] = (await world.bus.handle(LAMP)).failures

    assert isinstance(failure.error, UnexpectedAnswer)
    assert await world.owed() == ["ask"]


async def test_all_replies_about_one_aggregate_are_stored_and_no_effect_is_repeated(
    world: World,
) -> None:
    """Each has to meet with others: the more there are, the more often."""
    called: list[str] = []
    met = anyio.Event()

    async def ask(event: ThingMade, idempotency_key: IdempotencyKey) -> RenameThing | None:
        if event.thing_id == LAMP.thing_id:
            return None
        called.append(idempotency_key)
        if len(called) == MANY:
            met.set()
        await met.wait()
        return RenameThing(thing_id=LAMP.thing_id, name=f"{event.name} has answered")

    world.event_handlers, world.random, world.policy = on_made(ask), random.random, PATIENT
    world.wire()
    await world.bus.handle(LAMP)
    claims = await world.made(MANY)

    with anyio.fail_after(LIMIT_SECONDS):
        result = await world.bus.run(claims)

    assert (result.failures, await world.deliveries()) == ([], {})
    assert len(result.events) == len(set(called)) == len(called) == MANY


async def test_an_answer_may_take_longer_than_a_handler_as_long_as_the_lease_holds(
    new_world: NewWorld,
) -> None:
    """What counts is that it is stored: each run after a conflict has the handler's time again."""
    deadlines: list[float] = []
    called: list[IdempotencyKey] = []
    conflicts = Conflicts()

    async def store(command: RenameThing, uow: UnitOfWork) -> None:
        deadlines.append(anyio.current_effective_deadline())
        if len(deadlines) <= 2:
            raise ConcurrentUpdate
        await rename_thing(command, uow)

    policy = replace(POLICY, handler_timeout_seconds=60.0, lease_seconds=120.0)
    longer = 1.5 * policy.handler_timeout_seconds  # and shorter than the lease
    draws = iter([0.0, longer / (2 * CONFLICT_DELAY)])
    world = await new_world(
        event_handlers=asking(ANSWER, called.append),
        command_handlers={**HANDLERS.commands, RenameThing: store},
        policy=policy,
        observers=[conflicts],
        random=lambda: next(draws),
    )

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(world.bus.handle, LAMP)
            await conflicts.second.wait()  # now it pauses; cancelled, it has one run more
            group.cancel_scope.cancel()

    first, second, _ = deadlines
    assert second > first
    assert (len(called), await world.things()) == (1, ["the answer"])


async def test_an_answer_is_stored_once_however_often_the_outside_is_asked(
    new_world: NewWorld,
) -> None:
    """The next attempt has the same key; and who has lost the lease stores nothing."""
    called: list[IdempotencyKey] = []
    world = await new_world(event_handlers=asking(ANSWER, called.append))
    first = (await world.bus.execute(LAMP)).claims
    await world.move_clock(POLICY.lease_seconds + 1)
    second = await world.delivery_store().claim(10, ["ask"])

    late = await world.bus.run(first)
    assert (late.events, late.failures) == ([], [])
    assert await world.things() == ["lamp"]
    await world.bus.run(second)

    assert await world.things() == ["the answer"]
    assert (len(called), len(set(called))) == (2, 1)
    assert len(await world.commands()) == 2


async def test_an_answer_is_stored_though_the_caller_gives_up(new_world: NewWorld) -> None:
    """Anyone who stops a process in the moment between does not lose what the outside has said."""
    with anyio.CancelScope() as scope:
        world = await new_world(event_handlers=asking(ANSWER, lambda key: scope.cancel()))
        await world.bus.handle(LAMP)

    assert scope.cancelled_caught
    assert await world.things() == ["the answer"]
    assert await world.deliveries() == {}
