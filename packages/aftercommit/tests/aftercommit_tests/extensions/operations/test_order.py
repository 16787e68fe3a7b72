"""What an operator decides about the deliveries of ordered handlers, and sees of them."""

from dataclasses import replace

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.extensions.operations.erasing_events import StoredEvent

from aftercommit_tests.builders import MARIA, PLAIN, a_failure
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.errors import OrderedHandler
from aftercommit_tests.inside.operations import (
    batched_transactions,
    delivery_admin,
    end_deliveries,
    handler_pauses,
    listed_deliveries,
    queue_metrics,
    replay,
    retention,
    unknown_handlers,
)
from aftercommit_tests.inside.stored import deliveries, events, mend_lanes, unblock_heads
from aftercommit_tests.ordered import HANDLERS as ORDERED
from aftercommit_tests.test_order_contract import HANDLERS, claimed, make, name_in, work, world
from aftercommit_tests.things.app import bootstrap
from aftercommit_tests.things.domain import RenameThing, ThingId, ThingMade, ThingRenamed
from aftercommit_tests.world import World

pytestmark = pytest.mark.on("asyncio-postgres", "trio-sqlite")

__all__ = ["world"]


async def listed(world: World, *, lane: str | None = None) -> list[tuple[str, str, str | None]]:
    """Return state, name and by which name it is blocked, of each delivery to `note`."""
    async with world.database.read_transaction() as transaction:
        found = [row async for row in listed_deliveries(transaction, world.database, lane=lane)]
        rows = (await transaction.execute(sa.select(events.c.id, events.c.data))).all()
    names = {row.id: row.data.split('"')[-2] for row in rows}
    its = [row for row in found if row.handler == "note"]
    return [(str(row.state), names[row.event_id], names.get(row.blocked_by)) for row in its]


async def parked(world: World) -> Claim:
    """Return what is parked at the head of three, beside another lane."""
    await make(world, "a1", "a2", "a3")
    [(_, head)] = await claimed(world)
    await make(world, "b1")
    await world.delivery_store().record_failure(a_failure(head, ValueError()))
    return head


@pytest.mark.anyio
async def test_what_waits_for_a_parked_one_is_seen(world: World) -> None:
    """Nothing of it is late. It says which it waits for, and a figure says that something waits."""
    head = await parked(world)

    metrics = await queue_metrics(world.database, ["note", "ring"])

    assert await listed(world) == [
        ("due", "b1", None),
        ("blocked", "a2", "a1"),
        ("blocked", "a3", "a1"),
        ("parked", "a1", None),
    ]
    in_order = [("parked", "a1", None), ("blocked", "a2", "a1"), ("blocked", "a3", "a1")]
    assert await listed(world, lane=head.lane) == in_order
    assert await listed(world, lane="note:nobody") == []
    samples = {(s.name, *s.labels.values()): s.value for each in metrics for s in each.samples}
    assert samples["things_lanes_behind_parked", "note"] == 1
    assert samples["things_lanes_behind_parked", "ring"] == 0
    assert samples["things_deliveries", "note", "blocked"] == 2


@pytest.mark.anyio
@pytest.mark.parametrize("discard", [True, False])
async def test_a_person_lets_a_lane_go_on(world: World, discard: bool) -> None:
    """By discarding what is parked, or by having it retried; not by retrying what comes after."""
    head = await parked(world)
    [_, (_, a2, _), *_] = await listed(world)
    [second] = [row.id for row in await world.rows(*events.c) if f'"{a2}"' in row.data]
    assert await delivery_admin.retry(world.database, second, "note", MARIA) == "blocked"
    assert [name for name, _ in await claimed(world)] == ["b1"]

    decide = delivery_admin.discard if discard else delivery_admin.retry
    await decide(world.database, head.envelope.id, "note", MARIA)

    names = ["a2", "a3"] if discard else ["a1", "a2", "a3"]
    done = [name for name in await work(world) if name.startswith("note a")]
    assert done == [f"note {name}" for name in names]


@pytest.mark.anyio
async def test_what_is_discarded_in_the_middle_is_passed_over(world: World) -> None:
    """By an operator, or by an erasure of several: what is before it still has to be done."""
    await make(world, "a1", "a2", "a3", "a4")
    rows = sorted(await world.rows(*events.c), key=lambda row: row.position)
    await delivery_admin.discard(world.database, rows[1].id, "note", MARIA)
    assert [name for name, _ in await claimed(world, "note")] == ["a1"]

    async with world.database.write_transaction() as transaction:
        some = [StoredEvent(row.id, row.subject, {}) for row in rows[:3]]
        handlers = {"discard": ["note"], "reason": "erased", "decision": MARIA}
        assert await end_deliveries(transaction, world.database, some, **handlers) == 2  # type: ignore[arg-type]
        await transaction.commit()

    assert [name for name, _ in await claimed(world, "note")] == ["a4"]


def test_a_lane_is_mended_from_the_command_line(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is blocked names what it waits for, in lists and in its trace.

    If somebody deletes that in SQL, a worker lets the lane go on.
    """
    monkeypatch.setitem(bootstrap.__kwdefaults__ or {}, "handlers", ORDERED)
    for name in ("thing 3", "thing 6", "thing 9"):
        command_line.shows("make-thing", name, dispatch="worker")
    command_line.shows("worker", "--until-idle", bell_file=".", max_attempts="1")

    lane = command_line.shows("deliveries", "list", "--lane", "announce:0").splitlines()[1:]
    head, waits, _ = (line.split()[0] for line in lane)
    assert [f"blocked by {head} in announce:0" in line for line in lane] == [False, True, True]
    assert lane[1] in command_line.shows("deliveries", "list")
    assert f"blocked, the first of its lane is {head[:8]}…" in command_line.shows("trace", waits)
    assert command_line.run("deliveries", "list", "--lane", "x", "--all").returncode == 2
    replayed = command_line.run("deliveries", "replay", "announce", "--allow-side-effects")
    assert "announce is ordered: pause it, replay, and resume it" in replayed.stderr
    command_line.shows("deliveries", "discard", head, "announce")
    command_line.shows("worker", "--until-idle", bell_file=".", max_attempts="1")
    assert waits in command_line.shows("deliveries", "list", "--parked")
    command_line.change("DELETE FROM aftercommit_deliveries WHERE parked_at IS NOT NULL")
    command_line.shows("worker", "--until-idle")

    assert command_line.shows("deliveries", "list") == ""
    rings = (command_line.folder / "bell.txt").read_text().splitlines()
    assert [ring.rpartition(" ")[0] for ring in rings] == ["thing 9"]


def test_a_retry_says_what_it_waits_for(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone who is told to run a worker would look in vain for what it does."""
    monkeypatch.setitem(bootstrap.__kwdefaults__ or {}, "handlers", ORDERED)
    for name in ("thing 3", "thing 6"):
        command_line.shows("make-thing", name, dispatch="worker")
    lane = command_line.shows("deliveries", "list", "--lane", "announce:0").splitlines()[1:]
    head, waits = (line.split()[0] for line in lane)

    retry = ("deliveries", "retry")
    assert (
        command_line.shows(*retry, head, "announce") == '1 delivery due now; run "things worker"\n'
    )
    behind = command_line.shows(*retry, waits, "announce")
    command_line.shows("deliveries", "pause", "announce")
    paused = command_line.shows(*retry, head, "announce")

    assert behind == "1 delivery due when earlier deliveries of the lane are done\n"
    assert paused == "1 delivery due when the handler is resumed\n"


def test_who_resumes_a_handler_is_warned_of_a_replay_that_was_interrupted(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has stored would begin before the rest of the past."""
    monkeypatch.setitem(bootstrap.__kwdefaults__ or {}, "handlers", ORDERED)
    for name in ("thing 3", "thing 6", "thing 9"):
        command_line.shows("make-thing", name, dispatch="worker")
    command_line.change("DELETE FROM aftercommit_deliveries")
    command_line.shows("deliveries", "pause", "announce")
    replaying = "deliveries", "replay", "announce", "--allow-side-effects", "--yes"
    command_line.shows(*replaying)
    last = "SELECT max(position) FROM aftercommit_deliveries"
    command_line.change(f"DELETE FROM aftercommit_deliveries WHERE position = ({last})")

    warned = command_line.run("deliveries", "resume", "announce")
    command_line.shows("deliveries", "pause", "announce")
    command_line.shows(*replaying)
    resumed = command_line.run("deliveries", "resume", "announce")

    assert "a replay to announce was interrupted: 1 past event has no delivery" in warned.stderr
    assert (resumed.returncode, resumed.stderr) == (0, "")


@pytest.mark.anyio
async def test_hands_in_the_database_are_mended(world: World) -> None:
    """Somebody deletes what is parked, or a transaction has not seen that it was the first."""
    head = await parked(world)
    this = deliveries.c.event_id == head.envelope.id, deliveries.c.handler == "note"
    await world.execute(sa.delete(deliveries).where(*this))
    assert [name for name, _ in await claimed(world)] == ["b1"]

    await unblock_heads(world.database)
    await unblock_heads(world.database)

    assert [name for name, _ in await claimed(world)] == ["a2"]


@pytest.mark.anyio
async def test_the_past_comes_before_what_waits(world: World) -> None:
    """Pause, replay, resume: each event gets its place, also before what runs."""
    thing = await make_before(world, "a1", "a2")
    await make(world, "b1")
    await rename(world, thing, "a3", "a4")
    [(_, running), _] = await claimed(world)
    period = {"since": 0.0, "until": await now(world)}
    past = replay.replay_of(world.bus, "note", [], **period)
    with pytest.raises(OrderedHandler, match="pause it, replay, and resume it"):
        await past.run(world.database, MARIA, lambda count: None)
    with pytest.raises(OrderedHandler, match="handled again"):
        replay.replay_of(world.bus, "note", [], again=True, **period)

    await handler_pauses.pause(world.database, ["note"], MARIA)
    assert await past.count(world.database) == 2
    assert [await past.run(world.database, MARIA, lambda count: None) for _ in range(2)] == [2, 0]
    await rename(world, thing, "a5")
    await world.bus.run([replace(running, leased_at=anyio.current_time())])
    assert await work(world, names=["note"]) == []
    await handler_pauses.resume(world.database, ["note"], MARIA)

    assert name_in(running) == "a3"
    done = [name[5:] for name in await work(world, names=["note"])]
    assert done == ["a1", "a2", "a4", "a5"]


@pytest.mark.anyio
async def test_a_completion_that_is_made_again_passes_by_nothing_that_a_replay_has_stored(
    world: World,
) -> None:
    """Its first answer was lost. If it let the next one go on, a lane would have two that begin."""
    thing = await make_before(world, "a1")
    await rename(world, thing, "a2", "a3")
    [(_, running)] = await claimed(world, "ring")
    await world.delivery_store().complete(running)
    await world.move_clock(1)

    await replayed(world, "ring")
    await world.delivery_store().complete(running)
    await handler_pauses.resume(world.database, ["ring"], MARIA)

    assert [name for name, _ in await claimed(world, "ring")] == ["a1"]


@pytest.mark.anyio
async def test_a_lane_in_which_two_could_begin_is_mended(world: World) -> None:
    """After a change in SQL, say. What runs goes on to its end, and lets nothing begin."""
    await make(world, "a1", "a2", "a3", "a4")
    await world.execute(sa.update(deliveries).values(blocked=False))
    [(_, a1), (_, a2), *others] = await claimed(world)
    await world.delivery_store().release([a1, *(claim for _, claim in others)])

    await mend_lanes(world.database)
    [(first, claim)] = await claimed(world)
    await world.delivery_store().release([claim])
    await world.bus.run([a2])

    assert first == "a1"
    done = [name[5:] for name in await work(world, names=["note"])]
    assert done == ["a1", "a3", "a4"]


@pytest.mark.anyio
async def test_of_past_events_one_that_cannot_be_read_is_parked_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What it is ordered by is not known. The others are replayed, and it is named."""
    await make_before(world, "a1", "a2", "a3")
    world.keys = {ThingRenamed: lambda event: event.name[0], ThingMade: lambda event: event.name[0]}
    world.wire()
    [_, second, _] = sorted(await world.rows(*events.c), key=lambda row: row.position)
    await world.execute(sa.update(events).where(events.c.id == second.id).values(data="{}"))

    assert await replayed(world, "note") == 3
    await handler_pauses.resume(world.database, ["note"], MARIA)

    assert f"note parked on event {second.id}: its key cannot be read" in caplog.text
    assert [name[5:] for name in await work(world, names=["note"])] == ["a1", "a3"]
    found = (await world.deliveries()).items()
    assert [key for key, row in found if row.parked_at is not None] == [(second.id, "note")]


@pytest.mark.anyio
async def test_what_an_interrupted_replay_has_left_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To resume the handler would let what it has stored begin before the rest."""
    monkeypatch.setattr(batched_transactions, "BATCH_ROWS", 2)
    await make_before(world, "a1", "a2", "a3", "a4", "a5")
    await handler_pauses.pause(world.database, ["note"], MARIA)
    replaying = replay.replay_of(world.bus, "note", [], until=await now(world))
    assert await replay.count_left(world.bus, world.database, "note") == 0

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await replaying.run(world.database, MARIA, interrupt)
    assert await replay.count_left(world.bus, world.database, "note") == 0  # it is rolled back
    calls = iter([lambda count: None, interrupt])
    with pytest.raises(KeyboardInterrupt):
        await replaying.run(world.database, MARIA, lambda count: next(calls)(count))
    assert await replay.count_left(world.bus, world.database, "note") == 3
    await replaying.run(world.database, MARIA, lambda count: None)
    assert await replay.count_left(world.bus, world.database, "note") == 0


@pytest.mark.anyio
async def test_of_a_handler_that_is_gone_all_that_waits_is_counted(world: World) -> None:
    """Also what is blocked: one of a lane would look like little."""
    await make(world, "a1", "a2", "a3")

    async with world.database.read_transaction() as transaction:
        found = (await transaction.execute(unknown_handlers(["ring"]))).all()

    assert [(row.handler, row.deliveries) for row in found] == [("note", 3)]


@pytest.mark.anyio
async def test_positions_grow_also_when_all_events_are_pruned(world: World) -> None:
    """Others compare them: they would take what is new for old."""
    await make(world, "a1")
    [before] = await world.rows(events.c.position)
    await work(world)
    await world.move_clock(10)
    assert await retention.prune(world.database, older_than=1) == 1

    await make(world, "a2")

    [after] = await world.rows(events.c.position)
    assert after.position > before.position


async def make_before(world: World, *names: str) -> ThingId:
    """Make a thing of which no handler has heard that is there now."""
    world.event_handlers = PLAIN
    world.wire()
    thing = await make(world, *names)
    world.event_handlers = HANDLERS
    world.wire()
    return thing


async def replayed(world: World, handler: str) -> int:
    """Pause a handler, and replay all that it has not got; return how many that was."""
    await handler_pauses.pause(world.database, [handler], MARIA)
    replaying = replay.replay_of(world.bus, handler, [], until=await now(world))
    return await replaying.run(world.database, MARIA, lambda count: None)


async def rename(world: World, thing: ThingId, *names: str) -> None:
    for name in names:
        await world.bus.execute(RenameThing(thing_id=thing, name=name))


async def now(world: World) -> float:
    async with world.database.read_transaction() as transaction:
        return float((await transaction.execute(sa.select(world.database.clock))).scalar_one())
