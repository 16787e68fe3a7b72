"""What an operator decides about deliveries, and sees of them: on each database."""

import re

import pytest
import sqlalchemy as sa

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import MARIA, NAMES, a_failure
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.operations.conftest import listed, seconds_since_start
from aftercommit_tests.inside.errors import DeliveryNotFound
from aftercommit_tests.inside.operations import (
    delivery_admin,
    handler_pauses,
    latest_commands,
    latest_decisions,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, look_at, polish, write_down
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio


async def test_what_is_retried_by_a_person_starts_anew(world: World) -> None:
    """After a repair, all attempts are available again: to one, to a handler's, or to all."""
    store, claims = world.delivery_store(), await world.make_thing()
    event_id = claims["announce"].envelope.id
    for claim in claims.values():
        await store.record_failure(a_failure(claim))

    async def claimed() -> list[tuple[str, int]]:
        return [(claim.handler, claim.attempt) for claim in await store.claim(10, NAMES)]

    await delivery_admin.retry(world.database, event_id, "announce", MARIA)
    assert await claimed() == [("announce", 1)]
    names = ["look_at", "its_old_name"]
    assert await delivery_admin.retry_all_parked(world.database, MARIA, names) == {"due": 1}
    assert await claimed() == [("look_at", 1)]
    assert await delivery_admin.retry_all_parked(world.database, MARIA) == {"due": 1}
    assert await claimed() == [("write_down", 1)]


async def test_what_a_person_discards_is_not_done(world: World) -> None:
    """That it was not is not hidden. A decision that was stored before is no riddle."""
    event_id = (await world.make_thing())["announce"].envelope.id

    await delivery_admin.discard(world.database, event_id, "announce", MARIA)

    assert await world.owed() == ["look_at", "write_down"]
    [row] = await latest_commands(world.database, limit=1)
    assert (row.done, row.discarded, row.pending) == (0, 1, 2)
    for decide in (delivery_admin.discard, delivery_admin.retry):
        with pytest.raises(DeliveryNotFound, match="if there was one, it is done or discarded"):
            await decide(world.database, event_id, "announce", MARIA)


async def test_one_decision_about_many_hides_no_older_one(world: World) -> None:
    """An auditor asks who has discarded what, after somebody has retried a thousand."""
    first, *others = [await world.make_thing() for _ in range(3)]
    event_id = first["announce"].envelope.id
    await delivery_admin.discard(world.database, event_id, "announce", MARIA)
    await world.move_clock(60)
    for claims in others:
        await world.delivery_store().record_failure(a_failure(claims["announce"]))
    await delivery_admin.retry_all_parked(world.database, MARIA)

    found = await latest_decisions(world.database, limit=2)

    assert [(each.decision, each.events, each.event_id) for each in found] == [
        ("retry", 2, None),
        ("discard", 1, event_id),
    ]
    for wanted in ({"older_than": 30}, {"decision": "discard"}):
        assert await latest_decisions(world.database, limit=2, **wanted) == found[1:]
    for nobody in ({"decided_by": "Boris"}, {"handler": "look_at"}, {"older_than": 90}):
        assert await latest_decisions(world.database, limit=2, **nobody) == []


async def test_each_delivery_is_listed_where_it_belongs(world: World) -> None:
    """What is for later is no debt yet; what has failed and waits, or is paused, is one."""
    world.event_handlers = {ThingMade: [announce, look_at, polish, write_down, whisper]}
    world.wire()
    claims, store = await world.make_thing(), world.delivery_store()
    await store.record_failure(a_failure(claims["announce"], retry_in=500))
    await store.record_failure(a_failure(claims["polish"]))
    await store.complete(claims["whisper"])
    fresh = sa.update(tables.deliveries).values(attempts=0, owner=None)
    handler, later = tables.deliveries.c.handler, world.database.clock + 1000
    for name, due in (("look_at", world.database.clock), ("write_down", later)):
        await world.execute(fresh.where(handler == name).values(available_at=due))
        await handler_pauses.pause(world.database, [name], MARIA)

    states = {name: row.state for name, row in (await listed(world, "all")).items()}

    assert [*states.items()] == [
        ("announce", "retrying"),
        ("look_at", "paused"),
        ("write_down", "paused"),
        ("polish", "parked"),
        ("whisper", "done"),
    ]
    assert [*await listed(world)] == ["announce", "look_at", "polish"]
    assert [*await listed(world, "scheduled")] == ["write_down"]
    assert [*await listed(world, "parked")] == ["polish"]


async def whisper(event: ThingMade) -> None:
    """Have no effect at all."""


async def test_what_was_written_while_the_clock_was_ahead_is_listed(world: World) -> None:
    """With the time when it is due, for nothing else tells why no handler runs."""
    claims = await world.make_thing()
    await world.delivery_store().release([*claims.values()])
    await world.move_clock(-3600)

    seen = await listed(world)
    [command] = await latest_commands(world.database, limit=1)

    assert {*seen} == {*claims}
    for row in seen.values():
        assert (row.state, seconds_since_start(row.available_at)) == ("due", 0)
    assert (command.pending, command.scheduled) == (len(claims), 0)
    await delivery_admin.retry(world.database, claims["announce"].envelope.id, "announce", MARIA)
    [claim] = await world.delivery_store().claim(10, NAMES)
    assert claim.handler == "announce"


async def test_what_is_owed_is_listed_without_looking_at_what_is_done(new_world: NewWorld) -> None:
    """However long the history is: each part is in an index that holds nothing else."""
    world = await new_world()
    with asked_of(world.database) as asked:
        assert await listed(world) == {}

    used = []
    async with world.database.engine.connect() as connection:
        for each in asked:
            if "FROM aftercommit_deliveries" in each.sql:
                explain = f"EXPLAIN QUERY PLAN {each.sql}"
                plan = (await connection.exec_driver_sql(explain, each.values)).all()
                steps = "\n".join(step.detail for step in plan)
                assert not re.search("SCAN aftercommit(?!.* USING .*INDEX)", steps), steps
                used += re.findall(r"aftercommit_deliveries USING INDEX (\w+)", steps)
    names = ("available_at", "lane", "parked_at")  # what is blocked by which is in that of lanes
    assert {*used} == {f"ix_aftercommit_deliveries_{name}" for name in names}
