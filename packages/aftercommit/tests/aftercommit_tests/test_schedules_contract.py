"""Each time of a schedule is stored once, whoever looks, and however often."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from aftercommit import Every, InvalidValue, Limited, Ordered, testing
from anyio import Event, create_task_group

from aftercommit_tests.builders import PLAIN, a_thing_id
from aftercommit_tests.inside.process import worker
from aftercommit_tests.inside.stored import (
    ScheduleState,
    read_schedules,
    removed_schedules,
    tables,
)
from aftercommit_tests.things.domain import ThingMade
from aftercommit_tests.things.handlers import announce, look_at, write_down
from aftercommit_tests.world import START, World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

HOUR = 3600.0
THING = a_thing_id()


def hourly(name: str = "hourly", cron: str = "0 * * * *", **changed: Any) -> Every[ThingMade]:
    return Every(name, cron, lambda at: ThingMade(thing_id=THING, name=f"{at:%d %H:%M}"), **changed)


def keeping(world: World, *every: Every[Any]) -> World:
    """Return a world with schedules."""
    world.every = every or [hourly()]
    world.wire()
    return world


async def look(world: World) -> bool:
    """Look as some process does, and tell whether it has stored anything."""
    _, has_stored = await world.schedules().store_due()
    return has_stored


async def stored(world: World) -> list[str]:
    """Return the times of the events, in their order."""
    rows = await world.rows(tables.events.c.position, tables.events.c.data)
    return [row.data.partition('"name":"')[2].partition('"')[0] for row in sorted(rows)]


async def states(world: World) -> Sequence[ScheduleState]:
    async with world.database.read_transaction() as transaction:
        return await read_schedules(transaction, world.database, world.every)


async def test_a_new_schedule_begins_now(world: World) -> None:
    """Nobody wants the summaries of all nights before it was there."""
    keeping(world)  # the clock is at 13:46:40

    seconds, has_stored = await world.schedules().store_due()

    assert (seconds, has_stored) == (60.0, False)
    [state] = await states(world)
    assert state.next_at == datetime.fromtimestamp(START, UTC).replace(hour=14, minute=0, second=0)
    assert (state.last_at, state.correlation_id, state.missed) == (None, None, 0)
    await world.move_clock(13 * 60 + 19)
    assert (await world.schedules().store_due()) == (1.0, False)


async def test_each_time_becomes_one_event_with_its_deliveries(world: World) -> None:
    """However many processes look, and whenever they do; a trace begins with the event."""
    keeping(world, hourly(about=7))
    await look(world)

    for _ in range(3):
        await world.move_clock(HOUR)
        assert [await look(world) for _ in range(3)] == [True, False, False]

    assert await stored(world) == ["12 14:00", "12 15:00", "12 16:00"]
    assert (await world.owed()).count("announce") == 3
    row = tables.events.c
    rows = await world.rows(row.subject, row.correlation_id, row.causation_id, row.depth)
    assert len({each.correlation_id for each in rows}) == 3
    assert all(each.correlation_id == each.causation_id for each in rows)
    assert {(each.subject, each.depth) for each in rows} == {("7", 1)}


async def test_of_processes_that_look_at_once_one_stores(world: World) -> None:
    """No lock of a session: the row is moved by one of them."""
    keeping(world)
    await look(world)

    for _ in range(5):
        await world.move_clock(HOUR)
        async with create_task_group() as group:
            for _ in range(5):
                group.start_soon(look, world)

    assert await stored(world) == [f"12 {hour}:00" for hour in range(14, 19)]
    assert await world.commands() == set()


async def test_after_an_outage_the_latest_time_is_stored_and_the_others_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, and for operators."""
    keeping(world)
    await look(world)

    await world.move_clock(10 * HOUR)
    with caplog.at_level(logging.INFO):
        assert await look(world)

    assert await stored(world) == ["12 23:00"]
    [state] = await states(world)
    assert (state.missed, state.last_at) == (9, datetime(1970, 1, 12, 23, tzinfo=UTC))
    assert (
        "the schedule hourly: times missed before that of 1970-01-12 23:00:00+00:00: 9"
        in caplog.text
    )
    await world.move_clock(HOUR)
    await look(world)
    assert [each.missed for each in await states(world)] == [0]


async def test_a_clock_that_goes_back_repeats_nothing(world: World) -> None:
    """The clock decides what has come, and the row what was stored."""
    keeping(world)
    await look(world)
    await world.move_clock(3 * HOUR)
    await look(world)

    await world.move_clock(-2 * HOUR)
    assert await look(world) is False
    await world.move_clock(2 * HOUR)
    assert await look(world) is False
    await world.move_clock(HOUR)
    assert await look(world)

    assert await stored(world) == ["12 16:00", "12 17:00"]


async def test_a_renamed_schedule_continues_where_it_was(world: World) -> None:
    """Also beside processes of the release before."""
    keeping(world)
    await look(world)
    old = world.schedules()

    keeping(world, hourly("each hour", renamed="hourly"))
    await world.move_clock(HOUR)

    assert (await old.store_due())[1]
    assert await look(world) is False
    await world.move_clock(HOUR)
    assert await look(world)
    assert (await old.store_due())[1] is False
    assert await stored(world) == ["12 14:00", "12 15:00"]
    [state] = await states(world)
    assert state.name == "each hour"
    async with world.database.read_transaction() as transaction:
        assert await removed_schedules(transaction, world.every) == []
        [gone] = await removed_schedules(transaction, [])
    assert gone.name == "hourly"


async def test_a_schedule_that_fails_stops_no_other_one(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is late then, and is tried again: nothing is skipped because of a bug."""
    broken, is_broken = hourly("broken"), True

    def make(at: datetime) -> ThingMade:
        if is_broken:
            raise LookupError("no such hour")
        return broken.make(at)

    keeping(world, hourly("broken", "30 * * * *"), hourly())
    await look(world)
    keeping(world, Every("broken", "30 * * * *", make), hourly())
    await world.move_clock(HOUR)

    assert (await world.schedules().store_due()) == (5.0, True)

    assert await stored(world) == ["12 14:00"]
    assert "the schedule broken stores no event: " in caplog.text
    assert "raised LookupError: no such hour" in caplog.text
    assert [each.late_seconds for each in await states(world)] == [16 * 60 + 40, 0]
    is_broken = False
    assert await look(world)
    assert await stored(world) == ["12 14:00", "12 14:30"]


async def test_its_handlers_may_be_ordered_and_limited(world: World) -> None:
    """They are handlers like any other: the events of one schedule are a lane, in their order."""
    one: Limited[ThingMade, object] = Limited(announce, at_once=1)
    lane: Ordered[ThingMade, object] = Ordered(write_down)
    world.event_handlers = {**PLAIN, ThingMade: [one, lane, look_at]}
    keeping(world)
    await look(world)
    for _ in range(3):
        await world.move_clock(HOUR)
        await look(world)

    claimed = await world.delivery_store().claim(10, ["announce"])
    first = await world.delivery_store().claim(10, ["write_down"])

    assert (len(claimed), len(first)) == (1, 1)
    assert first[0].lane == "write_down:hourly"
    await world.delivery_store().complete(first[0])
    await testing.deliver_due(world.application)
    assert await world.lines() == ["12 15:00", "12 16:00"]  # those behind it


async def test_a_worker_stores_what_is_due_and_delivers_it(world: World) -> None:
    """Also one that ends when nothing is left to do."""
    keeping(world)
    run = partial(worker.Worker, world.application, concurrency=5)
    await run(Event()).run(until_idle=True)
    await world.move_clock(HOUR)

    await run(Event()).run(until_idle=True)

    assert await world.lines() == ["12 14:00"]
    assert world.bell.rung != []


async def test_a_test_lets_a_time_come(world: World) -> None:
    """Its latest one, without waiting for it; and once more, if it is asked again."""
    keeping(world, hourly("each hour", renamed="hourly"))

    await testing.deliver_due(world.application)
    assert await stored(world) == []  # no schedule comes by itself
    for _ in range(2):
        await testing.time_comes(world.application, "each hour")
    await testing.deliver_due(world.application)

    assert await world.lines() == ["12 13:00", "12 13:00"]
    with pytest.raises(InvalidValue, match="'nightly' does not exist; there is each hour"):
        await testing.time_comes(world.application, "nightly")
