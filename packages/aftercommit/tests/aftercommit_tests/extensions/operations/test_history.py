"""The latest commands, and what became of all that they caused: on each database."""

from functools import partial

import pytest
import sqlalchemy as sa
from aftercommit import Codec, MessageOrigin

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import a_command, a_failure
from aftercommit_tests.driver_calls import Call
from aftercommit_tests.extensions.operations.conftest import complete
from aftercommit_tests.extensions.operations.test_traces import (
    CAUSING,
    NAME,
    cause_an_event,
    trace_of,
)
from aftercommit_tests.inside.operations import causation_tree, latest_commands, summary
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio


async def test_history_has_the_latest_commands_and_what_became_of_them(world: World) -> None:
    """The newest first, each with how much of it is done and how long that took."""
    await complete(world, first := await world.make_thing("first"))
    await world.move_clock(10)
    second = await world.make_thing("second")
    await world.move_clock(3)
    await world.delivery_store().record_failure(a_failure(second[NAME]))
    of_first = tables.deliveries.c.event_id == first[NAME].envelope.id
    again = {"replay": True, "completed_at": tables.deliveries.c.completed_at + 3600}
    this = of_first & (tables.deliveries.c.handler == NAME)
    await world.execute(sa.update(tables.deliveries).where(this).values(again))

    with asked_of(world.database) as statements:
        newest, oldest = await latest_commands(world.database, limit=5)

    assert (newest.about, oldest.about) == ("second", "first")
    assert (oldest.done, oldest.pending, oldest.parked, oldest.seconds) == (3, 0, 0, 0)
    assert (newest.done, newest.pending, newest.parked, newest.seconds) == (0, 2, 1, None)
    assert newest.id == second[NAME].envelope.context.causation_id
    assert len([each for each in statements if each.sql != "BEGIN"]) == 3
    assert await latest_commands(world.database, limit=1) == [newest]
    await world.move_clock(-1)  # parked is an end, too, and here the last
    await complete(world, {name: claim for name, claim in second.items() if name != NAME})
    [newest] = await latest_commands(world.database, limit=1)
    assert (newest.done, newest.parked, newest.seconds) == (2, 1, 3)


async def test_the_history_reads_what_its_commands_have_caused_however_long_their_trace_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may send any number of commands in one trace: that must not hold up the server."""
    read = []

    def counted(codec: Codec[object], name: str, version: int, data: str) -> str:
        read.append(name)
        return summary(codec, name, version, data)

    monkeypatch.setattr(causation_tree, "summary", counted)
    for number in range(5):
        await world.move_clock(1)
        claims = await world.make_thing(f"thing {number}")
        await cause_an_event(world, claims[NAME], f"below {number}")
    for table in (tables.commands, tables.events):
        await world.execute(sa.update(table).values(correlation_id=claims[NAME].envelope.id))

    newest, _ = await latest_commands(world.database, limit=2)

    assert len(read) == 4
    assert (newest.about, newest.pending) == ("thing 4", 5)


def plan_of(connection: sa.Connection, asked: Call) -> list[str]:
    """Return how SQLite would look for what was asked."""
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked.sql}", asked.values)
    return [row[-1] for row in rows]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_latest_commands_are_found_without_reading_the_whole_of_their_trace(
    world: World,
) -> None:
    """A stranger who sends the same request id each time makes one trace of all commands.

    SQLite tells how it looks: by the time, so what is older costs nothing.
    """
    await world.make_thing("lamp")
    with asked_of(world.database) as statements:
        await latest_commands(world.database, limit=1)

    asked = next(each for each in statements if "WITH RECURSIVE known" in each.sql)
    async with world.database.read_transaction() as transaction:
        plan = await transaction.run_sync(partial(plan_of, asked=asked))
    assert not any("correlation_id=?" in step for step in plan), plan
    for index in ("aftercommit_events_recorded_at", "aftercommit_commands_accepted_at"):
        assert any(f"{index} (" in step for step in plan), plan


async def test_what_a_handler_has_returned_belongs_to_the_command_from_outside(
    world: World,
) -> None:
    """With all that it caused, also if that fails; in the history it is no command of its own."""
    world.event_handlers = CAUSING
    world.wire()
    world.bell.failures["cracked lamp shines"] = OSError("no")
    await world.bus.handle(a_command("cracked lamp"))
    command = tables.commands.c
    returned = sa.update(tables.commands).where(command.causation_id.is_not(None))
    await world.execute(returned.values(accepted_at=command.accepted_at + 1))

    [row] = await latest_commands(world.database, limit=1)

    assert (row.type, row.done, row.pending) == ("make_thing", 2, 1)
    assert await latest_commands(world.database, limit=5, failed_only=True) == [row]


async def test_a_command_without_events_is_in_the_history(world: World) -> None:
    """It was received, and changed nothing."""
    async with world.a_uow(received=MessageOrigin(source="/shop", id="m1")):
        pass

    [row] = await latest_commands(world.database, limit=5)
    [node] = (await trace_of(world, row.id)).nodes

    assert (row.type, row.source, row.about) == ("make_thing", "/shop", "")
    assert (row.done, row.seconds) == (0, None)
    assert (node.kind, node.id) == ("command", str(row.id))


async def test_history_knows_those_that_failed(world: World) -> None:
    """Parked, or failed and waiting, or left behind; however deep below the command."""
    store, delivery = world.delivery_store(), tables.deliveries.c
    for name in ("held", "waits", "parked", "deep", "lost"):
        await world.move_clock(1)
        claim = (await world.make_thing(name))[NAME]
        of_this = sa.update(tables.deliveries).where(delivery.event_id == claim.envelope.id)
        match name:
            case "waits":
                await store.record_failure(a_failure(claim, retry_in=5))
            case "parked":
                await store.record_failure(a_failure(claim))
            case "deep":
                caused = await cause_an_event(world, claim, "below")
                below = sa.update(tables.deliveries).where(delivery.event_id == caused)
                await world.execute(below.values(parked_at=1, owner=None, last_error="no"))
            case "lost":
                await world.execute(of_this.values(available_at=1))

    with asked_of(world.database) as statements:
        failed = await latest_commands(world.database, limit=10, failed_only=True)

    assert [row.about for row in failed] == ["lost", "deep", "parked", "waits"]
    assert len([each for each in statements if each.sql != "BEGIN"]) == 3
    assert await latest_commands(world.database, limit=2, failed_only=True) == failed[:2]
