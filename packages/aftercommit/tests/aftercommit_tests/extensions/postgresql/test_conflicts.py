"""Conflicts that only a server with several writers has: real ones, of every kind."""

import random
from itertools import count

import anyio
import pytest
from aftercommit import IdempotencyKey
from sqlalchemy import text

from aftercommit_tests.builders import CommandHandlers, a_command
from aftercommit_tests.extensions.postgresql.server import change
from aftercommit_tests.misbehaving import LIMIT_SECONDS, on_made
from aftercommit_tests.test_conflicts import MANY
from aftercommit_tests.test_time_limits import PATIENT
from aftercommit_tests.things.domain import RenameThing, ThingMade
from aftercommit_tests.things.handlers import HANDLERS, rename_thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]

LAMP = a_command("lamp")
NO_OTHERS: CommandHandlers = {}
RACES = {"a failed serialization": "40001", "a deadlock": "40P01"}


def wire(world: World, *events: object, of_commands: CommandHandlers = NO_OTHERS) -> None:
    """Exchange handlers; no pause is drawn, and no time limit is met."""
    world.event_handlers, world.policy = on_made(*events), PATIENT
    world.command_handlers = {**HANDLERS.commands, **of_commands}
    world.random = lambda: 0.0
    world.wire()


async def test_a_conflict_repeats_the_command_and_not_the_effect(world: World) -> None:
    """The outside has done its part: only what is stored of it has met with others."""
    called: list[IdempotencyKey] = []
    tries = count(1)

    async def ask(event: ThingMade, idempotency_key: IdempotencyKey) -> RenameThing:
        called.append(idempotency_key)
        return RenameThing(thing_id=event.thing_id, name="the answer")

    async def store(command: RenameThing, uow: UnitOfWork) -> None:
        await uow.things.get(command.thing_id)
        if (number := next(tries)) <= MANY:
            async with world.a_uow() as other:  # of another process, which is faster
                (await other.things.get(command.thing_id)).rename(f"name {number}")
        await rename_thing(command, uow)

    wire(world, ask, of_commands={RenameThing: store})
    result = await world.bus.handle(LAMP)

    assert (result.failures, len(called)) == ([], 1)
    assert await world.things() == ["the answer"]


async def test_a_handler_with_uow_has_its_effect_after_many_conflicts(world: World) -> None:
    """In the same attempt: none is counted, and nothing is parked."""
    tries = count(1)

    async def rename(event: ThingMade, uow: UnitOfWork) -> None:
        thing = await uow.things.get(event.thing_id)
        if (number := next(tries)) <= MANY:
            async with world.a_uow() as other:
                (await other.things.get(event.thing_id)).rename(f"name {number}")
        thing.rename("the last one")

    wire(world, rename)
    result = await world.bus.handle(LAMP)

    assert (result.failures, await world.things()) == ([], ["the last one"])
    assert list((await world.finished()).values()) == [1]


async def test_all_serializable_transactions_on_one_aggregate_succeed(world: World) -> None:
    """The server refuses those that would not have come one after the other: they come again."""

    async def rename_alone(command: RenameThing, uow: UnitOfWork) -> None:
        level = text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        await uow.transaction.execute(level)
        await rename_thing(command, uow)

    wire(world, of_commands={RenameThing: rename_alone})
    world.random = random.random
    world.wire()
    await world.bus.execute(LAMP)
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(MANY):
                rename = RenameThing(thing_id=LAMP.thing_id, name=f"name {number}")
                group.start_soon(world.bus.execute, rename)

    assert len(await world.event_ids()) == 1 + MANY


async def test_both_commands_of_a_deadlock_succeed(world: World) -> None:
    """The server ends one of the two: it runs again when the other one is done."""
    lamps = [a_command(), a_command()]
    both_hold_one = [anyio.Event(), anyio.Event()]

    async def rename_both(command: RenameThing, uow: UnitOfWork) -> None:
        first = command.name == "first"
        for number in (0, 1) if first else (1, 0):
            (await uow.things.get(lamps[number].thing_id)).rename(f"{command.name} {number}")
            await uow.transaction.flush()
            both_hold_one[number].set()
            await both_hold_one[1 - number].wait()

    wire(world, of_commands={RenameThing: rename_both})
    for lamp in lamps:
        await world.bus.execute(lamp)
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for name in ("first", "second"):
                rename = RenameThing(thing_id=lamps[0].thing_id, name=name)
                group.start_soon(world.bus.execute, rename)

    assert len(await world.event_ids()) == 2 + 4


@pytest.mark.parametrize("state", RACES.values(), ids=RACES)
async def test_a_conflict_of_the_completion_repeats_no_effect(world: World, state: str) -> None:
    """Such as with an operator's decision about the same deliveries."""
    called: list[IdempotencyKey] = []

    async def send(event: ThingMade, idempotency_key: IdempotencyKey) -> None:
        called.append(idempotency_key)

    wire(world, send)
    claims = (await world.bus.execute(LAMP)).claims
    await change(
        world.database,
        "CREATE SEQUENCE tries",
        f"""CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') = 1 THEN RAISE SQLSTATE '{state}'; END IF; RETURN NEW; END $$""",
        "CREATE TRIGGER lose BEFORE UPDATE ON aftercommit_deliveries"
        " FOR EACH ROW EXECUTE FUNCTION lose()",
    )

    result = await world.bus.run(claims)

    assert (result.failures, len(called)) == ([], 1)
    assert list((await world.finished()).values()) == [1]
