"""What can be asked about all that a command has caused: on each database."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Codec, InvalidValue, Later

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import (
    MARIA,
    NAMES,
    PLAIN,
    EventHandlers,
    a_command,
    a_failure,
    a_thing,
)
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import Claim, EventId
from aftercommit_tests.inside.operations import (
    Node,
    Replay,
    Traces,
    delivery_admin,
    handler_pauses,
    latest_commands,
    nothing_but_ids,
    summary,
    trace_queries,
    trace_query,
)
from aftercommit_tests.inside.stored import LEASE_EXPIRED, tables
from aftercommit_tests.things.app import find_subjects
from aftercommit_tests.things.domain import MakeThing, ThingMade, ThingPolished
from aftercommit_tests.things.handlers import (
    HANDLERS,
    announce,
    forget,
    look_at,
    polish,
    praise,
    write_down,
)
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = pytest.mark.anyio

NAME = "write_down"
CAUSING: EventHandlers = {**PLAIN, ThingMade: [announce, polish], ThingPolished: [praise]}
query = partial(trace_query, find_subjects=find_subjects)


async def trace_of(world: World, about: object) -> Traces:
    return await trace_queries.find_traces(world.database, query(str(about)))


async def node_of(world: World, claim: Claim) -> tuple[Node, float | None]:
    """Return the node of a delivery, and in how many seconds it is due."""
    found = await trace_of(world, claim.envelope.id)
    [node] = [node for node in found.nodes if node.id == claim.idempotency_key]
    assert found.read_at
    due_at = node.available_at
    return node, (due_at - found.read_at).total_seconds() if due_at else None


async def cause_an_event(world: World, claim: Claim, name: str) -> EventId:
    """Let the handler of a delivery make a thing."""
    async with (unit := world.a_uow(claim)) as uow:
        uow.things.add(a_thing(name))
    return unit.committed.events[0].id


def drawn(nodes: Sequence[Node]) -> list[str]:
    """Return the names of nodes, indented by how deep they are."""
    depth: dict[str | None, int] = {None: -1}
    for node in nodes:
        depth[node.id] = depth[node.parent] + 1
    return ["  " * depth[node.id] + node.name for node in nodes]


async def test_all_that_a_command_has_caused_is_one_tree(world: World) -> None:
    """Depth first, deliveries by handler; what the outside has answered is a command in it."""
    world.event_handlers = CAUSING
    world.wire()
    await world.bus.handle(a_command("cracked lamp"))

    found = await trace_of(world, "cracked lamp")

    assert drawn(found.nodes) == [
        "make_thing",
        "  thing_made",
        "    announce",
        "      break_thing",
        "        thing_broken",
        "    polish",
        "      thing_polished",
        "        praise",
    ]
    assert {node.state for node in found.nodes} == {"done"}
    assert found.is_whole


async def test_a_trace_is_found_by_every_id_in_it_and_by_name(world: World) -> None:
    """Anyone who asks has one of them: from a log, a complaint, a list."""
    envelope = (await world.make_thing("lamp"))[NAME].envelope
    await world.make_thing("chair")
    trace = str(envelope.context.correlation_id)
    ids = [trace.upper(), f"{trace[:8]}…", envelope.context.causation_id, envelope.subject]

    nodes = (await trace_of(world, "lamp")).nodes

    assert [node.name for node in nodes] == ["make_thing", "thing_made", *NAMES]
    assert [node.about for node in nodes[:2]] == ["program", "lamp"]
    for each in (*ids, envelope.id, trace):
        assert (await trace_of(world, each)).nodes == nodes


@pytest.mark.parametrize("text", ["", "5f2c8a9", "5f2c8a91x", "5f2c8a91" * 4 + "0", "%" * 36])
async def test_what_is_no_id_is_refused(text: str) -> None:
    """Fewer digits would find anything. Names are found if the application can find them."""
    with pytest.raises(InvalidValue, match="neither an id nor 8 or more of its first digits; not"):
        trace_query(text, nothing_but_ids)


async def test_of_a_trace_of_many_things_the_part_about_one_is_shown(new_world: NewWorld) -> None:
    """What caused it, and what it has caused: not what became of the others of an import."""

    async def import_things(command: MakeThing, uow: UnitOfWork) -> None:
        for name in ("lamp", "chair", "table"):
            uow.things.add(a_thing(name))

    commands = {**HANDLERS.commands, MakeThing: import_things}
    world = await new_world(event_handlers=CAUSING, command_handlers=commands)
    await world.bus.handle(a_command())

    part = (await trace_of(world, "chair")).nodes
    [row] = await latest_commands(world.database, limit=5)

    assert drawn(part) == [
        "make_thing",
        "  thing_made",
        "    announce",
        "    polish",
        "      thing_polished",
        "        praise",
    ]
    assert {node.about for node in part if node.kind == "event"} == {"chair"}
    assert (row.about, row.done) == ("lamp and 2 more", 9)


async def test_the_whole_life_of_a_delivery_can_be_read(world: World) -> None:
    """Its process dies, the next attempt fails, the third one succeeds: who, when and why."""
    claim = (await world.make_thing())[NAME]
    first, due_in = await node_of(world, claim)
    assert (first.state, first.attempts, due_in) == ("running", 1, world.policy.lease_seconds)

    await world.end_leases()
    lost, due_in = await node_of(world, claim)
    assert (lost.state, lost.owner, due_in) == ("lease_expired", first.owner, -1)

    store = world.delivery_store()
    [claim] = await store.claim(1, [NAME])
    await store.record_failure(a_failure(claim, OSError("disk full"), retry_in=5))
    failed, due_in = await node_of(world, claim)
    assert (failed.state, failed.owner, due_in) == ("retrying", None, 5)
    assert failed.error == "OSError: disk full"

    await world.move_clock(6)
    [claim] = await store.claim(1, [NAME])
    await store.complete(claim)
    done, due_in = await node_of(world, claim)
    assert (done.state, done.attempts, done.error, due_in) == ("done", 3, None, None)
    assert done.seconds == 0
    lapsed, failure = done.history
    assert (lapsed.what, failure.what) == ("lease_expired", "failed")
    assert (lapsed.attempt, lapsed.why, lapsed.by) == (1, LEASE_EXPIRED, first.owner)
    assert (failure.attempt, failure.why) == (2, "OSError: disk full")
    assert [each.error for each in done.failures] == [LEASE_EXPIRED, "OSError: disk full"]
    assert failure.recorded_at == lapsed.recorded_at


async def test_what_was_decided_about_a_handler_belongs_to_what_it_had_then(world: World) -> None:
    """In its place among the attempts: not to what was done before, or came later."""
    before, during = await world.make_thing(), await world.make_thing()
    await world.delivery_store().complete(before[NAME])
    await world.move_clock(1)
    await handler_pauses.pause(world.database, [NAME], MARIA)
    await world.move_clock(1)
    await world.delivery_store().release([during[NAME]])
    await world.move_clock(1)
    await handler_pauses.resume(world.database, [NAME], MARIA)
    await world.move_clock(1)
    after = await world.make_thing()
    replay = Replay(handler=NAME, aliases=[NAME], event_types={"thing_made": 0}, until=0)
    await replay.run(world.database, MARIA, lambda number: None)  # and finds nothing to do

    past = [(await node_of(world, each[NAME]))[0].history for each in (before, during, after)]

    assert [[entry.what for entry in each] for each in past] == [
        [],
        ["pause", "released", "resume"],
        [],
    ]


async def test_an_event_hangs_as_deep_as_its_cause_is_known(world: World) -> None:
    """Rows from before the history say less, and are shown all the same, each in its time."""
    claim = (await world.make_thing())[NAME]
    await world.move_clock(1)
    caused = str(await cause_an_event(world, claim, "caused"))

    async def causes() -> dict[str, str | None]:
        nodes = (await trace_of(world, caused)).nodes
        return {node.id: node.parent for node in nodes if node.kind == "event"}

    event = str(claim.envelope.id)
    command = str(claim.envelope.context.causation_id)
    assert await causes() == {event: command, caused: claim.idempotency_key}
    await world.execute(sa.update(tables.events).values(handler=None))
    assert await causes() == {event: command, caused: event}
    await world.execute(sa.delete(tables.commands))
    assert await causes() == {event: None, caused: event}
    await world.execute(sa.update(tables.events).values(causation_id=uuid4()))
    assert [*(await causes()).items()] == [(event, None), (caused, None)]


async def test_a_circle_of_causes_ends(world: World) -> None:
    """Nobody stores one, but anyone who looks for what is wrong has to get an answer."""
    claim = (await world.make_thing())[NAME]
    await world.execute(sa.update(tables.events).values(causation_id=tables.events.c.id))

    with anyio.fail_after(60):
        [node] = (await trace_of(world, claim.envelope.context.correlation_id)).nodes
        [row] = await latest_commands(world.database, limit=5)

    assert (node.kind, row.done) == ("command", 0)


@pytest.mark.parametrize(
    "values", [{"type": "thing_vanished"}, {"data": "[]"}, {"schema_version": 99}]
)
async def test_events_of_other_versions_are_shown_without_words(
    world: World, values: Mapping[str, str | int]
) -> None:
    """Their names and deliveries are known, and perhaps they are what is wrong."""
    claim = (await world.make_thing())[NAME]
    await world.execute(sa.update(tables.events).values(**values))

    nodes = (await trace_of(world, claim.envelope.id)).nodes
    [row] = await latest_commands(world.database, limit=5)

    assert (nodes[1].name, nodes[1].about) == (values.get("type", "thing_made"), "")
    assert len(nodes) == 2 + len(NAMES)
    assert row.about == claim.envelope.subject


async def test_data_that_are_no_text_are_shown_and_hide_nothing_else(new_world: NewWorld) -> None:
    """SQLite stores what is no UTF-8; an operator may have to know what it is."""
    world = await new_world()
    claim = (await world.make_thing())[NAME]
    await world.execute(sa.text("UPDATE aftercommit_events SET data = CAST(x'ff' AS TEXT)"))

    assert (await node_of(world, claim))[0].state == "running"
    _, data, _ = await delivery_admin.delivery(world.database, claim.envelope.id, NAME)
    assert data == "\udcff"


def test_an_event_that_cannot_be_upcast_has_no_words() -> None:
    """Whatever an upcaster raises: the rest of the history is shown."""
    upcasters = {("thing_made", 1): lambda old: old["gone"]}
    codec = Codec(source="/", events=[ThingMade], upcasters=upcasters)

    assert summary(codec, "thing_made", 1, "{}") == ""


async def test_a_long_trace_takes_no_more_statements_than_a_short_one(world: World) -> None:
    """One for each kind of thing, not one for each thing."""
    claim, counts = (await world.make_thing())[NAME], []
    for number in range(6):
        with asked_of(world.database) as statements:
            nodes = (await trace_of(world, claim.envelope.context.correlation_id)).nodes
        asked = [each for each in statements if each.sql != "BEGIN"]
        counts.append((len(nodes), len(asked)))
        await cause_an_event(world, claim, f"below {number}")
        await world.end_leases()
        [claim] = await world.delivery_store().claim(1, [NAME])

    assert (counts[0], counts[-1]) == ((5, 4), (25, 4))


async def test_of_many_traces_the_newest_are_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something may have been here for years."""
    monkeypatch.setattr(trace_queries, "MAX_TRACES", 2)
    commands = []
    for _ in range(3):
        await world.move_clock(1)
        claim = (await world.make_thing())[NAME]
        commands.append(str(claim.envelope.context.causation_id))
    await world.execute(sa.update(tables.events).values(subject=claim.envelope.subject))

    found = await trace_of(world, claim.envelope.subject)

    assert [node.id for node in found.nodes if node.kind == "command"] == commands[1:]
    assert found.is_whole


async def test_nothing_that_happens_by_itself_is_left_in_a_trace_that_is_settled(
    world: World,
) -> None:
    """Nobody who follows a trace waits for what is parked, paused, discarded or for later."""
    later: Later[ThingMade, None] = Later(forget, after=timedelta(days=1))
    world.event_handlers = {ThingMade: [announce, look_at, write_down, polish, later]}
    world.wire()
    claims = await world.make_thing()
    event_id = claims[NAME].envelope.id

    async def outstanding() -> dict[str, str | None]:
        nodes = (await trace_of(world, event_id)).nodes
        return {node.name: node.state for node in nodes if not node.is_settled}

    assert await outstanding() == dict.fromkeys([*NAMES, "polish"], "running")
    await world.delivery_store().record_failure(a_failure(claims["announce"]))
    await world.delivery_store().complete(claims["look_at"])
    await delivery_admin.discard(world.database, event_id, "polish", MARIA)
    await world.delivery_store().record_failure(a_failure(claims[NAME], retry_in=5))
    assert await outstanding() == {NAME: "retrying"}
    await handler_pauses.pause(world.database, [NAME], MARIA)
    assert await outstanding() == {}
