"""Past events are owed to a handler, at most once by one replay: on each database."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from allocation.adapters import orm
from allocation.adapters.database import Database
from allocation.adapters.operations import decisions, replaying
from allocation.adapters.operations.exceptions import ReplayNotFound, ReplayUnderWay
from allocation.adapters.operations.forgetting import forget
from allocation.adapters.operations.replaying import Replay
from allocation.service_layer.delivery import Delivery
from tests.builders import HANDLER_NAMES, a_failure
from tests.integration.test_outbox_contract import HANDLERS, commit_an_event
from tests.worlds import Deliveries, SqlWorld

pytestmark = pytest.mark.anyio

NEW = "count_users"
TO_A_NEW_ONE = Replay(handler=NEW, known_as=[NEW], event_types=["user_registered"])
AGAIN = replace(TO_A_NEW_ONE, handler=HANDLERS[1], known_as=[HANDLERS[1]], again=True)


class PowerCutError(Exception):
    """What a process is killed by."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two events in each."""
    monkeypatch.setattr("allocation.adapters.operations.batches.BATCH_ROWS", 2)


async def commit_events(world: SqlWorld, number: int) -> Sequence[dict[str, Delivery]]:
    return [await commit_an_event(world, email=f"user{n}@example.com") for n in range(number)]


async def settle(world: SqlWorld, committed: Sequence[dict[str, Delivery]]) -> None:
    outbox = world.outbox()
    for first in committed:
        for delivery in first.values():
            await outbox.settle(delivery)


async def run(world: SqlWorld, replay: Replay) -> int:
    return await replaying.run(world.database, replay, lambda count: None)


async def cut_off(world: SqlWorld, replay: Replay) -> None:
    """Begin a replay, and be killed after the first batch."""

    def fail(count: int) -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        await replaying.run(world.database, replay, fail)


async def owed_to(world: SqlWorld, handler: str) -> Deliveries:
    return {key: row for key, row in (await world.deliveries()).items() if key[1] == handler}


async def change(world: SqlWorld, statement: sa.Update) -> None:
    async with world.database.writing() as session:
        await session.execute(statement)
        await session.commit()


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

    assert await replaying.count(world.database, TO_A_NEW_ONE) == 3
    assert await run(world, TO_A_NEW_ONE) == 3

    rows = await owed_to(world, NEW)
    assert {event_id for event_id, _ in rows} == await world.event_ids()
    for row in rows.values():
        assert (row.attempts, row.token, row.due_at, row.replay) == (0, 1, 0, True)
    assert rows == await world.deliveries()
    claims = await world.outbox().claim(10, [NEW])
    assert [claim.attempt for claim in claims] == [1, 1, 1]


async def test_what_a_handler_was_owed_once_is_not_owed_anew(world: SqlWorld) -> None:
    """Whether it is done, tried, parked or discarded; and however often this is asked for."""
    done, parked, discarded, tried = await commit_events(world, 4)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.settle(done[name])
    await outbox.record_failure(a_failure(parked[name]))
    await decisions.discard(world.database, discarded[name].envelope.id, name)
    before = await world.deliveries(), await world.finished()

    assert await run(world, replace(AGAIN, again=False)) == 0
    assert await run(world, TO_A_NEW_ONE) == 4
    assert await run(world, TO_A_NEW_ONE) == 0

    owed = {key: row for key, row in (await world.deliveries()).items() if key[1] != NEW}
    assert (owed, await world.finished()) == before
    assert (tried[name].envelope.id, name) in owed


async def test_again_is_what_was_done_and_nothing_else(world: SqlWorld) -> None:
    """A person's decision stands, and what is still owed is done anyway."""
    done, parked, discarded, _ = await commit_events(world, 4)
    outbox, name = world.outbox(), HANDLERS[1]
    await outbox.record_failure(a_failure(done[name], OSError("once"), retry_in=0))
    (claim,) = await outbox.claim(10, [name])
    await outbox.settle(claim)
    await outbox.record_failure(a_failure(parked[name]))
    await decisions.discard(world.database, discarded[name].envelope.id, name)
    before = await owed_to(world, name)

    assert await replaying.count(world.database, AGAIN) == 1
    assert await run(world, AGAIN) == 1

    rows = await owed_to(world, name)
    key = done[name].envelope.id, name
    again = rows.pop(key)
    assert rows == before
    assert (again.attempts, again.token, again.due_at) == (0, claim.token + 1, 0)
    assert (again.replay, again.held, again.last_error) == (True, False, None)
    assert (await world.failures())[key] == [(1, "OSError: once")]
    assert await run(world, AGAIN) == 0


async def test_what_was_done_under_an_old_name_is_done(world: SqlWorld) -> None:
    """A handler that was renamed is no new one."""
    await settle(world, await commit_events(world, 2))
    renamed = replace(TO_A_NEW_ONE, known_as=[NEW, HANDLERS[1]])

    assert await run(world, renamed) == 0
    assert await run(world, replace(renamed, again=True)) == 2

    assert set(await world.deliveries()) == set(await owed_to(world, HANDLERS[1]))


async def test_only_the_events_that_are_asked_for_are_owed(world: SqlWorld) -> None:
    """Of these types, and no older ones."""
    (old,) = await commit_events(world, 1)
    await world.move_clock(100)
    await commit_an_event(world, email="young@example.com")
    await settle(world, [old])

    other = replace(TO_A_NEW_ONE, event_types=["email_changed"])
    assert await run(world, other) == 0
    assert await replaying.count(world.database, replace(TO_A_NEW_ONE, since=99)) == 1
    assert await run(world, replace(TO_A_NEW_ONE, since=99)) == 1
    assert old[HANDLERS[1]].envelope.id not in {key[0] for key in await owed_to(world, NEW)}
    assert await run(world, replace(TO_A_NEW_ONE, since=101)) == 1


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("replay", [TO_A_NEW_ONE, AGAIN], ids=["new", "again"])
async def test_a_replay_that_was_cut_off_goes_on_where_it_was(
    world: SqlWorld, replay: Replay
) -> None:
    """What it made due, and somebody has done since, is not owed a second time."""
    await settle(world, await commit_events(world, 5))
    await cut_off(world, replay)
    assert len(await work(world)) == 2

    assert await replaying.is_under_way(world.database, replay)
    assert await replaying.count(world.database, replay) == 3
    assert await run(world, replay) == 3

    assert not await replaying.is_under_way(world.database, replay)
    tokens = [3, 3, 3] if replay.again else [2, 2, 2]
    assert await work(world) == [(replay.handler, token) for token in tokens]


@pytest.mark.usefixtures("small_batches")
async def test_a_batch_that_is_not_committed_leaves_nothing(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries and position are stored together."""
    await settle(world, await commit_events(world, 5))

    async def fail(*arguments: Any) -> None:
        raise PowerCutError

    with monkeypatch.context() as patched, pytest.raises(PowerCutError):
        patched.setattr(replaying, "_move", fail)
        await run(world, TO_A_NEW_ONE)

    assert await world.deliveries() == {}
    assert await run(world, TO_A_NEW_ONE) == 5


@pytest.mark.usefixtures("small_batches")
async def test_what_is_recorded_after_its_begin_is_no_part_of_it(world: SqlWorld) -> None:
    """It comes to an end, however much happens meanwhile."""
    await commit_events(world, 3)
    await cut_off(world, TO_A_NEW_ONE)
    await world.move_clock(1)
    late = await commit_an_event(world, email="late@example.com")

    assert await run(world, TO_A_NEW_ONE) == 1

    assert (late[HANDLERS[1]].envelope.id, NEW) not in await world.deliveries()


@pytest.mark.usefixtures("small_batches")
async def test_a_replay_of_another_scope_waits_until_a_person_decides(world: SqlWorld) -> None:
    """Half of one and half of the other would be neither; the message says both ways out."""
    await commit_events(world, 5)
    other = replace(TO_A_NEW_ONE, since=3600, again=True)
    await cut_off(world, other)

    scope = '"--event-type user_registered --since 3600s --again"'
    for refused in (run(world, TO_A_NEW_ONE), replaying.count(world.database, TO_A_NEW_ONE)):
        with pytest.raises(ReplayUnderWay, match=f"{scope}.*--drop"):
            await refused

    await replaying.drop(world.database, NEW)
    assert len(await owed_to(world, NEW)) == 2
    assert await run(world, TO_A_NEW_ONE) == 3
    with pytest.raises(ReplayNotFound, match=NEW):
        await replaying.drop(world.database, NEW)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("replay", [TO_A_NEW_ONE, AGAIN], ids=["new", "again"])
async def test_two_of_the_same_share_the_work(world: SqlWorld, replay: Replay) -> None:
    """Each event is owed by one of them."""
    await settle(world, await commit_events(world, 20))
    counts = []

    async def one(database: Database) -> None:
        counts.append(await replaying.run(database, replay, lambda count: None))

    async with anyio.create_task_group() as group:
        group.start_soon(one, world.database)
        group.start_soon(one, world.other_database)

    rows = await owed_to(world, replay.handler)
    assert len(rows) == 20
    assert {row.token for row in rows.values()} == {2 if replay.again else 1}
    assert sum(counts) in ({20, 40} if replay.again else {20})  # it had ended, and began anew


@pytest.mark.usefixtures("small_batches")
async def test_replaying_and_forgetting_do_not_collide(world: SqlWorld) -> None:
    """Each event is owed, or gone with all that was done about it; none is owed and gone."""
    await settle(world, await commit_events(world, 30))
    await world.move_clock(10)

    async with anyio.create_task_group() as group:
        group.start_soon(run, world, TO_A_NEW_ONE)
        for database in (world.other_database, world.database):
            group.start_soon(lambda database: forget(database, older_than=5), database)

    rows = await world.deliveries()
    assert set(rows) == {(event_id, NEW) for event_id in await world.event_ids()}


async def test_workers_do_replayed_work_last(world: SqlWorld) -> None:
    """However much of the past is owed, a new user waits for none of it."""
    await settle(world, await commit_events(world, 3))
    await run(world, TO_A_NEW_ONE)
    await world.move_clock(5)
    await commit_an_event(world, email="new@example.com")
    await world.move_clock(world.policy.lease + 1)
    outbox = world.outbox()

    claims = await outbox.claim(10, [*HANDLER_NAMES, NEW])
    assert sorted(claim.handler for claim in claims) == HANDLERS
    claims = await outbox.claim(10, [*HANDLER_NAMES, NEW])
    assert [claim.handler for claim in claims] == [NEW] * 3


async def test_events_of_an_unknown_type_are_looked_at_and_left(world: SqlWorld) -> None:
    """There may be newer processes."""
    await commit_events(world, 3)
    await change(world, sa.update(orm.events).values(type="user_vanished"))

    assert await run(world, TO_A_NEW_ONE) == 0
