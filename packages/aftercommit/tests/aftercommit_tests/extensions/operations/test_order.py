"""What a person decides about the deliveries of ordered handlers, and sees of them."""

from dataclasses import replace

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim
from aftercommit.extensions.metrics.queue_metrics import queue_metrics
from aftercommit.extensions.operations import delivery_admin, handler_pauses, replay, retention
from aftercommit.extensions.operations.delivery_admin import listed_deliveries
from aftercommit.extensions.operations.exceptions import OrderedHandler
from aftercommit.extensions.operations.redaction import StoredEvent, end_deliveries
from aftercommit.sql.lanes import unblock_heads
from aftercommit.sql.tables import deliveries, events

from aftercommit_tests.builders import MARIA, PLAIN, a_failure
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.ordered import HANDLERS as ORDERED
from aftercommit_tests.test_order_contract import HANDLERS, claimed, make, name_in, work, world
from aftercommit_tests.things.app import bootstrap
from aftercommit_tests.things.domain import RenameThing, ThingId
from aftercommit_tests.world import World

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
    await world.outbox().record_failure(a_failure(head, ValueError()))
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
    """By a person, or by an erasure of several: what is before it still has to be done."""
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
    assert "announce is ordered: pause it, replay, resume it" in replayed.stderr
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
    """Whoever is told to run a worker would look in vain for what it does."""
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

    assert behind == "1 delivery due when the earlier ones of the lane are done\n"
    assert paused == "1 delivery due when the handler is resumed\n"


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
    world.event_handlers = PLAIN
    world.wire()
    thing = await make(world, "a1", "a2")
    world.event_handlers = HANDLERS
    world.wire()
    await make(world, "b1")
    await rename(world, thing, "a3", "a4")
    [(_, running), _] = await claimed(world)
    period = {"since": 0.0, "until": await now(world)}
    past = replay.replay_of(world.bus, "note", [], **period)
    with pytest.raises(OrderedHandler, match="pause it, replay, resume it"):
        await past.run(world.database, MARIA, lambda count: None)
    with pytest.raises(OrderedHandler, match="done again"):
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


async def rename(world: World, thing: ThingId, *names: str) -> None:
    for name in names:
        await world.bus.execute(RenameThing(thing_id=thing, name=name))


async def now(world: World) -> float:
    async with world.database.read_transaction() as transaction:
        return float((await transaction.execute(sa.select(world.database.clock))).scalar_one())
