"""Past events get deliveries to a handler, each at most one: on each database."""

from dataclasses import replace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.extensions.operations import delivery_admin, handler_pauses
from aftercommit.extensions.operations.replay import Replay
from aftercommit.extensions.operations.retention import prune
from aftercommit.sql import tables
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import DatabaseUnavailable

from tests.builders import HANDLER_NAMES, a_failure
from tests.builders import HANDLERS_OF_REGISTRATION as HANDLERS
from tests.integration.extensions.operations.conftest import change, commit_events, settle
from tests.worlds import Deliveries, SqlWorld, commit_a_registration

pytestmark = pytest.mark.anyio

NEW = "count_users"
NOW = 1_000_000.0  # by the clock of a new world
TO_A_NEW_ONE = Replay(handler=NEW, aliases=[NEW], event_types={"user_registered": 0.0}, until=NOW)
AGAIN = replace(TO_A_NEW_ONE, handler=HANDLERS[1], aliases=[HANDLERS[1]], again=True)


class PowerCutError(Exception):
    """What a process is killed by."""


async def run(world: SqlWorld, replay: Replay) -> int:
    return await replay.run(world.database, lambda count: None)


async def cut_off(world: SqlWorld, replay: Replay) -> None:
    """Begin a replay, and be killed in the second batch."""
    batches: list[int] = []

    def fail(count: int) -> None:
        batches.append(count)
        if len(batches) > 1:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        await replay.run(world.database, fail)


async def owed_to(world: SqlWorld, handler: str) -> Deliveries:
    return {key: row for key, row in (await world.deliveries()).items() if key[1] == handler}


async def work(world: SqlWorld) -> list[tuple[str, int]]:
    """Do all that is due, as a worker does; return handler and token of each."""
    outbox, done = world.outbox(), []
    while claims := await outbox.claim(10, [*HANDLER_NAMES, NEW]):
        for claim in claims:
            await outbox.settle(claim)
            done.append((claim.handler, claim.token))
    return done


async def test_what_a_handler_was_never_owed_is_owed(world: SqlWorld) -> None:
    """It is new, and is to know what has happened before it."""
    await settle(world, await commit_events(world, 3))

    assert await TO_A_NEW_ONE.count(world.database) == 3
    assert await run(world, TO_A_NEW_ONE) == 3

    rows = await owed_to(world, NEW)
    assert {event_id for event_id, _ in rows} == await world.event_ids()
    for row in rows.values():
        assert (row.attempts, row.token, row.available_at, row.replay) == (0, 1, 0, True)
    assert rows == await world.deliveries()
    claims = await world.outbox().claim(10, [NEW])
    assert [claim.attempt for claim in claims] == [1, 1, 1]


async def test_events_of_the_future_are_replayed_and_due_now(world: SqlWorld) -> None:
    """The clock was ahead when they were committed: they are past like all others."""
    done, again = HANDLERS[1], replace(AGAIN, until=NOW - 3600)
    await settle(world, await commit_events(world, 2))
    await world.move_clock(-3600)
    new = replace(TO_A_NEW_ONE, until=NOW - 3600)

    assert await new.count(world.database) == await run(world, new) == 2
    assert await run(world, again) == 2

    assert {row.available_at for row in (await owed_to(world, NEW)).values()} == {0}
    await world.move_clock(1)
    assert sorted(await work(world)) == [(NEW, 2)] * 2 + [(done, 3)] * 2
    assert await run(world, again) == 0


async def test_what_is_done_again_begins_anew(world: SqlWorld) -> None:
    """What failed before it was done the first time makes no pause longer now."""
    [first] = await commit_events(world, 1)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.record_failure(a_failure(first[name], DatabaseUnavailable("away"), retry_in=0))
    [claim] = await outbox.claim(10, [name])
    await outbox.settle(claim)

    assert await run(world, AGAIN) == 1

    [again] = await outbox.claim(10, [name])
    assert (again.attempt, again.unavailable_attempts) == (1, 0)


async def test_what_a_handler_was_owed_once_is_not_owed_anew(world: SqlWorld) -> None:
    """Whether it is done, tried, parked or discarded; and however often this is asked for."""
    done, parked, discarded, tried = await commit_events(world, 4)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.settle(done[name])
    await outbox.record_failure(a_failure(parked[name]))
    await delivery_admin.discard(world.database, discarded[name].envelope.id, name)
    before = await world.deliveries(), await world.finished()

    assert await run(world, replace(AGAIN, again=False)) == 0
    assert await run(world, TO_A_NEW_ONE) == 4
    assert await run(world, TO_A_NEW_ONE) == 0

    owed = {key: row for key, row in (await world.deliveries()).items() if key[1] != NEW}
    assert (owed, await world.finished()) == before
    assert (tried[name].envelope.id, name) in owed


async def test_again_is_what_was_done_and_nothing_else(world: SqlWorld) -> None:
    """A person's decision stands, and what is still owed is done anyway; other types are left."""
    done, parked, discarded, _, other = await commit_events(world, 5)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.record_failure(a_failure(done[name], OSError("once"), retry_in=0))
    (claim,) = await outbox.claim(10, [name])
    await outbox.settle(claim)
    await outbox.record_failure(a_failure(parked[name]))
    await delivery_admin.discard(world.database, discarded[name].envelope.id, name)
    await outbox.settle(other[name])
    is_other = tables.events.c.id == other[name].envelope.id
    await change(
        world.database, sa.update(tables.events).where(is_other).values(type="user_vanished")
    )
    before = await owed_to(world, name)

    assert await AGAIN.count(world.database) == 1
    assert await run(world, AGAIN) == 1

    rows = await owed_to(world, name)
    key = done[name].envelope.id, name
    again = rows.pop(key)
    assert rows == before
    assert (again.attempts, again.token, again.available_at) == (0, claim.token + 1, 0)
    assert (again.replay, again.held, again.last_error) == (True, False, None)
    assert (await world.failures())[key] == [(1, "OSError: once")]
    assert await run(world, AGAIN) == 0


async def test_what_was_done_under_an_old_name_is_done(world: SqlWorld) -> None:
    """A handler that was renamed is no new one."""
    await settle(world, await commit_events(world, 2))
    renamed = replace(TO_A_NEW_ONE, aliases=[NEW, HANDLERS[1]])

    assert await run(world, renamed) == 0
    assert await run(world, replace(renamed, again=True)) == 2

    assert set(await world.deliveries()) == set(await owed_to(world, HANDLERS[1]))


async def test_only_the_events_that_are_asked_for_are_owed(world: SqlWorld) -> None:
    """Of these types, and no older ones."""
    (old,) = await commit_events(world, 1)
    await world.move_clock(100)
    await commit_a_registration(world, email="young@example.com")
    await settle(world, [old])
    until_now = replace(TO_A_NEW_ONE, until=NOW + 100)
    young_ones = replace(until_now, since=NOW + 1)

    assert await run(world, replace(until_now, event_types={"email_changed": 0.0})) == 0
    assert await young_ones.count(world.database) == 1
    assert await run(world, young_ones) == 1
    assert old[HANDLERS[1]].envelope.id not in {key[0] for key in await owed_to(world, NEW)}
    assert await run(world, until_now) == 1


async def test_a_handler_for_later_is_owed_as_long_after_the_event(world: SqlWorld) -> None:
    """Not after the replay; what would have been due by now is due now."""
    await commit_events(world, 1)
    await world.move_clock(100)
    await commit_a_registration(world, email="young@example.com")
    later = replace(TO_A_NEW_ONE, event_types={"user_registered": 60.0}, until=NOW + 100)

    assert await run(world, later) == 2

    due = sorted(row.available_at for row in (await owed_to(world, NEW)).values())
    assert due == [0, pytest.approx(60, abs=5)]


async def test_what_is_replayed_to_a_paused_handler_waits(world: SqlWorld) -> None:
    """It does not stand in the way of claims either."""
    await commit_events(world, 2)
    await handler_pauses.pause(world.database, [NEW], by="Maria")

    assert await run(world, TO_A_NEW_ONE) == 2
    assert await work(world) == []

    assert await handler_pauses.resume(world.database, [NEW]) == 2
    assert [handler for handler, _ in await work(world)] == [NEW, NEW]


@pytest.mark.usefixtures("small_batches")
async def test_a_replay_that_was_cut_off_and_repeated_doubles_nothing(world: SqlWorld) -> None:
    """What it made due, and somebody has done since, gets no second delivery."""
    await settle(world, await commit_events(world, 5))
    await cut_off(world, TO_A_NEW_ONE)
    assert len(await work(world)) == 2

    assert await TO_A_NEW_ONE.count(world.database) == 3
    assert await run(world, TO_A_NEW_ONE) == 3

    assert await work(world) == [(NEW, 2)] * 3
    assert await run(world, TO_A_NEW_ONE) == 0


@pytest.mark.usefixtures("small_batches")
async def test_a_batch_that_is_not_committed_leaves_nothing(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one transaction."""
    await settle(world, await commit_events(world, 5))
    enqueue = Replay._enqueue

    async def enqueue_and_fail(*arguments: Any) -> None:
        await enqueue(*arguments)
        raise PowerCutError

    with monkeypatch.context() as patched, pytest.raises(PowerCutError):
        patched.setattr(Replay, "_enqueue", enqueue_and_fail)
        await run(world, TO_A_NEW_ONE)

    assert await world.deliveries() == {}
    assert await run(world, TO_A_NEW_ONE) == 5


@pytest.mark.usefixtures("small_batches")
async def test_what_is_recorded_after_its_begin_is_no_part_of_it(world: SqlWorld) -> None:
    """It comes to an end, however much happens meanwhile."""
    await commit_events(world, 3)
    batches: list[int] = []

    async with anyio.create_task_group() as group:

        async def commit_late_one(number: int) -> None:
            await world.move_clock(1)
            await commit_a_registration(world, email=f"late{number}@example.com")

        def advance(count: int) -> None:
            batches.append(count)
            group.start_soon(commit_late_one, len(batches))

        assert await TO_A_NEW_ONE.run(world.database, advance) == 3

    assert sum(batches) == len(await owed_to(world, NEW)) == 3


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("replay", [TO_A_NEW_ONE, AGAIN], ids=["new", "again"])
async def test_two_of_the_same_share_the_work(world: SqlWorld, replay: Replay) -> None:
    """Each event is owed by one of them."""
    await settle(world, await commit_events(world, 20))
    counts = []

    async def one(database: Database) -> None:
        counts.append(await replay.run(database, lambda count: None))

    async with anyio.create_task_group() as group:
        group.start_soon(one, world.database)
        group.start_soon(one, world.other_database)

    rows = await owed_to(world, replay.handler)
    assert len(rows) == 20
    assert {row.token for row in rows.values()} == {2 if replay.again else 1}
    assert sum(counts) == 20


@pytest.mark.usefixtures("small_batches")
async def test_replaying_and_forgetting_do_not_collide(world: SqlWorld) -> None:
    """Each event is owed, or gone with all that was done about it; none is owed and gone."""
    await settle(world, await commit_events(world, 30))
    await world.move_clock(10)

    async with anyio.create_task_group() as group:
        group.start_soon(run, world, TO_A_NEW_ONE)
        for database in (world.other_database, world.database):
            group.start_soon(lambda database: prune(database, older_than=5), database)

    rows = await world.deliveries()
    assert set(rows) == {(event_id, NEW) for event_id in await world.event_ids()}


async def test_workers_do_replayed_work_last(world: SqlWorld) -> None:
    """However much of the past is owed, a new user waits for none of it."""
    await settle(world, await commit_events(world, 3))
    await run(world, TO_A_NEW_ONE)
    await world.move_clock(5)
    await commit_a_registration(world, email="new@example.com")
    await world.move_clock(world.policy.lease_seconds + 1)
    outbox = world.outbox()

    claims = await outbox.claim(10, [*HANDLER_NAMES, NEW])
    assert sorted(claim.handler for claim in claims) == HANDLERS
    claims = await outbox.claim(10, [*HANDLER_NAMES, NEW])
    assert [claim.handler for claim in claims] == [NEW] * 3
