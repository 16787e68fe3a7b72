"""Answers: a handler with an effect outside returns a command, which its delivery stores once."""

import anyio
import pytest
from aftercommit.bus import MAX_CONFLICT_RETRIES
from aftercommit.claims import IdempotencyKey
from aftercommit.errors import ConcurrentUpdate, UnexpectedAnswer
from aftercommit.handler_table import Handler
from aftercommit.observers import Observer, Outcome
from aftercommit.sql import tables

from aftercommit_tests.builders import POLICY, a_command, a_thing_id
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.misbehaving import on_made
from aftercommit_tests.things.domain import (
    Command,
    MakeThing,
    RenameThing,
    ThingMade,
    ThingNotFound,
)
from aftercommit_tests.things.handlers import HANDLERS, rename_thing
from aftercommit_tests.things.storage import UnitOfWork

pytestmark = pytest.mark.anyio

ANSWER = "the answer"


def an_answer(command: MakeThing) -> RenameThing:
    return RenameThing(thing_id=command.thing_id, name=ANSWER)


def asks_outside(
    answer: Command | None, called: list[IdempotencyKey]
) -> Handler[ThingMade, Command]:
    """Return a handler with an external effect, which returns what the outside has answered."""

    async def ask(event: ThingMade, idempotency_key: IdempotencyKey) -> RenameThing | None:
        called.append(idempotency_key)
        return answer  # type: ignore[return-value]

    return ask


async def test_the_answer_of_the_outside_is_stored_with_the_delivery(new_world: NewWorld) -> None:
    """The returned command is executed, recorded, and a part of the trace; its events follow."""
    lamp = a_command()
    world = await new_world(event_handlers=on_made(asks_outside(an_answer(lamp), [])))

    [claim] = (await world.bus.execute(lamp)).claims
    result = await world.bus.run([claim])

    assert (result.failures, await world.deliveries()) == ([], {})
    assert await world.things() == [ANSWER]
    recorded = tables.commands.c
    columns = recorded.id, recorded.source, recorded.correlation_id, recorded.causation_id
    [answer] = [row for row in await world.rows(*columns) if row.source == "ask"]
    assert answer.correlation_id == claim.context.correlation_id
    assert answer.causation_id == claim.envelope.id
    [renamed] = result.events
    assert (renamed.context.causation_id, renamed.context.depth) == (answer.id, 2)


async def test_no_answer_is_an_answer(new_world: NewWorld) -> None:
    """The delivery is done."""
    world = await new_world(event_handlers=on_made(asks_outside(None, [])))

    result = await world.bus.handle(a_command())

    assert (result.failures, await world.deliveries()) == ([], {})


async def test_an_answer_that_a_rule_refuses_is_parked_with_what_it_says(
    new_world: NewWorld,
) -> None:
    """The effect has happened: a person needs to know what the outside has said."""
    answer = RenameThing(thing_id=a_thing_id(), name="torch")
    world = await new_world(event_handlers=on_made(asks_outside(answer, [])))

    [failure] = (await world.bus.handle(a_command())).failures

    assert isinstance(failure.error, ThingNotFound)
    assert failure.retry_in is None
    assert failure.error.__notes__ == [f"ask had returned {answer!r}"]


async def test_what_the_annotation_does_not_say_is_no_answer(new_world: NewWorld) -> None:
    """Nobody has checked at start that it can be stored."""
    world = await new_world(event_handlers=on_made(asks_outside(a_command(), [])))

    [failure] = (await world.bus.handle(a_command())).failures

    assert isinstance(failure.error, UnexpectedAnswer)
    assert await world.owed() == ["ask"]


class Conflicts(Observer):
    """Counts the races that were lost."""

    count = 0

    def finished(self, outcome: Outcome) -> None:
        self.count += outcome.status == "conflict"


async def test_a_conflict_repeats_the_command_and_not_the_effect(new_world: NewWorld) -> None:
    """The outside has done its part: only what is stored of it has met with others."""
    called: list[IdempotencyKey] = []
    conflicts = Conflicts()

    async def store(command: RenameThing, uow: UnitOfWork) -> None:
        if conflicts.count < MAX_CONFLICT_RETRIES - 1:
            raise ConcurrentUpdate
        await rename_thing(command, uow)

    lamp = a_command()
    world = await new_world(
        event_handlers=on_made(asks_outside(an_answer(lamp), called)),
        command_handlers={**HANDLERS.commands, RenameThing: store},
        observers=[conflicts],
    )

    result = await world.bus.handle(lamp)

    assert result.failures == []
    assert await world.things() == [ANSWER]
    assert len(called) == 1


async def test_an_answer_is_stored_once_however_often_the_outside_is_asked(
    new_world: NewWorld,
) -> None:
    """The next attempt has the same key; and who has lost the lease stores nothing."""
    called: list[IdempotencyKey] = []
    lamp = a_command()
    world = await new_world(event_handlers=on_made(asks_outside(an_answer(lamp), called)))
    first = (await world.bus.execute(lamp)).claims
    await world.move_clock(POLICY.lease_seconds + 1)
    second = await world.outbox().claim(10, ["ask"])

    late = await world.bus.run(first)
    assert (late.events, late.failures) == ([], [])
    assert await world.things() == [lamp.name]
    await world.bus.run(second)

    assert await world.things() == [ANSWER]
    assert (len(called), len(set(called))) == (2, 1)
    assert len(await world.commands()) == 2


async def test_an_answer_is_stored_though_the_caller_gives_up(new_world: NewWorld) -> None:
    """Whoever stops a process in the moment between does not lose what the outside has said."""
    lamp = a_command()

    async def ask(event: ThingMade) -> RenameThing:
        scope.cancel()
        return an_answer(lamp)

    world = await new_world(event_handlers=on_made(ask))
    committed = await world.bus.execute(lamp)

    with anyio.CancelScope() as scope:
        await world.bus.run(committed.claims)

    assert scope.cancelled_caught
    assert await world.things() == [ANSWER]
    assert await world.deliveries() == {}
