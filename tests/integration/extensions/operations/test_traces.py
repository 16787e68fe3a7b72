"""What can be asked about stories, on each database."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim
from aftercommit.codec import Codec
from aftercommit.envelopes import EventId, MessageOrigin
from aftercommit.errors import InvalidValue
from aftercommit.extensions.operations import (
    causation_queries,
    causation_tree,
    command_history,
    delivery_admin,
)
from aftercommit.extensions.operations.causation_queries import TraceQuery, Traces, trace_query
from aftercommit.extensions.operations.causation_tree import Node, summary
from aftercommit.extensions.operations.trace_display import show
from aftercommit.sql import tables
from aftercommit.sql.database import Database
from aftercommit.sql.failure_history import LEASE_EXPIRED
from sqlalchemy import event

from allocation import views
from tests.builders import HANDLERS_OF_REGISTRATION as HANDLERS
from tests.builders import a_command_envelope, a_failure, a_user
from tests.integration.extensions.operations.conftest import change
from tests.integration.test_outbox_contract import let_leases_end
from tests.worlds import SqlWorld, a_uow, commit_a_registration, sql_world

pytestmark = pytest.mark.anyio


@contextmanager
def counting(database: Database) -> Iterator[list[str]]:
    """Collect the queries that are made inside."""
    statements: list[str] = []

    def count(connection: object, cursor: object, statement: str, *others: object) -> None:
        if statement != "BEGIN":
            statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", count)
    yield statements
    event.remove(database.engine.sync_engine, "before_cursor_execute", count)


async def cause_an_event(world: SqlWorld, delivery: Claim, email: str) -> EventId:
    """Let the handler of a delivery commit an event."""
    async with (scope := world.new_uow(delivery)) as uow:
        uow.users.add(a_user(email=email))
    return scope.committed.events[0].id


def query(text: str) -> TraceQuery:
    return trace_query(text, views.find_subjects)


async def nodes_of(world: SqlWorld, about: str) -> Sequence[Node]:
    return (await causation_queries.find_traces(world.database, query(about))).nodes


async def due_in(world: SqlWorld, delivery: Claim) -> float:
    about = query(str(delivery.envelope.id))
    found = await causation_queries.find_traces(world.database, about)
    node = next(node for node in found.nodes if node.id == delivery.idempotency_key)
    assert node.available_at
    assert found.read_at
    return (node.available_at - found.read_at).total_seconds()


async def node_of(world: SqlWorld, delivery: Claim) -> Node:
    nodes = await nodes_of(world, str(delivery.envelope.id))
    return next(node for node in nodes if node.id == delivery.idempotency_key)


def kinds(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    return [(node.kind, node.name) for node in nodes]


async def test_a_story_is_found_by_every_id_in_it_and_by_address(world: SqlWorld) -> None:
    """Whoever asks has one of them: from a log, a complaint, a list."""
    envelope = (await commit_a_registration(world, "Ivan@example.com"))["log_registration"].envelope
    await commit_a_registration(world, "another@example.com")
    correlation_id = str(envelope.context.correlation_id)
    ids = [correlation_id, str(envelope.context.causation_id), envelope.subject]

    ids += [str(envelope.id), correlation_id.upper(), f"{correlation_id[:8]}…"]

    found = [await nodes_of(world, about) for about in ("iVAN@example.com", *ids)]

    assert kinds(found[0]) == [
        ("command", "register_user"),
        ("event", "user_registered"),
        *(("delivery", name) for name in HANDLERS),
    ]
    assert found == [found[0]] * len(found)
    assert [node.about for node in found[0][:2]] == ["program", "Иван <Ivan@example.com>"]


@pytest.mark.parametrize("text", ["", "5f2c8a9", "5f2c8a91x", "5f2c8a91" * 4 + "0", "%" * 36])
async def test_what_is_no_id_is_refused(text: str) -> None:
    """Fewer digits would find anything."""
    with pytest.raises(InvalidValue, match="neither an id nor 8 or more of its .*; e-mail address"):
        query(text)


async def test_the_whole_life_of_a_delivery_can_be_read(world: SqlWorld) -> None:
    """Its process dies, the next attempt fails, the third one succeeds: who, when and why."""
    delivery = (await commit_a_registration(world))["log_registration"]
    first = await node_of(world, delivery)
    assert (first.state, first.attempts) == ("running", 1)
    assert await due_in(world, delivery) == world.policy.lease_seconds

    await let_leases_end(world)
    lost = await node_of(world, delivery)
    assert (lost.state, lost.owner) == ("lease_expired", first.owner)
    assert await due_in(world, delivery) == -1

    outbox = world.outbox()
    (claim,) = await outbox.claim(1, ["log_registration"])
    await outbox.record_failure(a_failure(claim, OSError("disk full"), retry_in=5))
    failed = await node_of(world, delivery)
    assert (failed.state, failed.owner) == ("retrying", None)
    assert await due_in(world, delivery) == 5
    assert failed.error == "OSError: disk full"

    await world.move_clock(6)
    (claim,) = await outbox.claim(1, ["log_registration"])
    await outbox.settle(claim)
    done = await node_of(world, delivery)
    assert (done.state, done.attempts, done.error, done.available_at) == ("done", 3, None, None)
    assert done.seconds is not None
    assert [(f.attempt, f.error) for f in done.failures] == [
        (1, LEASE_EXPIRED),
        (2, "OSError: disk full"),
    ]
    assert {failure.owner for failure in done.failures} == {first.owner}
    assert done.failures[1].failed_at == done.failures[0].failed_at


async def test_an_event_hangs_as_deep_as_its_cause_is_known(world: SqlWorld) -> None:
    """Rows from before the history say less, and are shown all the same."""
    delivery = (await commit_a_registration(world))["log_registration"]
    caused = await cause_an_event(world, delivery, "caused@example.com")

    async def parent() -> str | None:
        nodes = await nodes_of(world, str(caused))
        return next(node.parent for node in nodes if node.id == str(caused))

    assert await parent() == delivery.idempotency_key
    await change(world.database, sa.update(tables.events).values(handler=None))
    assert await parent() == str(delivery.envelope.id)
    await change(world.database, sa.delete(tables.commands))
    nodes = await nodes_of(world, str(caused))
    assert (nodes[0].kind, nodes[0].parent) == ("event", None)


@pytest.mark.parametrize("values", [{"type": "user_vanished"}, {"data": "[]"}])
async def test_events_of_other_versions_are_shown_without_words(
    world: SqlWorld, values: dict[str, str]
) -> None:
    """Their names and deliveries are known, and perhaps they are what is wrong."""
    delivery = (await commit_a_registration(world))["log_registration"]
    await change(world.database, sa.update(tables.events).values(**values))

    nodes = await nodes_of(world, str(delivery.envelope.id))
    (row,) = await command_history.latest_commands(world.database, limit=5)

    assert (nodes[1].name, nodes[1].about) == (values.get("type", "user_registered"), "")
    assert len(nodes) == 2 + len(HANDLERS)
    assert row.about == delivery.envelope.subject


async def test_data_that_are_no_text_are_shown_and_hide_nothing_else(sqlite_url: str) -> None:
    """SQLite stores what is no UTF-8; a person may have to know what it is."""
    async with sql_world(sqlite_url) as world:
        delivery = (await commit_a_registration(world))["log_registration"]
        await change(
            world.database, sa.text("UPDATE aftercommit_events SET data = CAST(x'ff' AS TEXT)")
        )

        assert (await node_of(world, delivery)).state == "running"
        key = delivery.envelope.id, delivery.handler
        _, data = await delivery_admin.delivery(world.database, *key)
        assert data == "\udcff"


async def test_a_long_story_takes_no_more_statements_than_a_short_one(world: SqlWorld) -> None:
    """One for each kind of thing, not one for each thing."""
    delivery = (await commit_a_registration(world))["log_registration"]
    story = query(str(delivery.envelope.context.correlation_id))
    counts = []
    for number in range(11):
        with counting(world.database) as statements:
            nodes = (await causation_queries.find_traces(world.database, story)).nodes
        counts.append((len(nodes), len(statements)))
        await cause_an_event(world, delivery, f"user{number}@example.com")
        delivery = await _claimed(world)

    assert (counts[0], counts[-1]) == ((6, 3), (56, 3))


async def _claimed(world: SqlWorld) -> Claim:
    await let_leases_end(world)
    (delivery,) = await world.outbox().claim(1, ["log_registration"])
    return delivery


async def test_of_many_stories_the_newest_are_shown(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have been here for years."""
    monkeypatch.setattr(causation_queries, "MAX_TRACES", 2)
    ids = []
    for number in range(3):
        await world.move_clock(1)
        delivery = (await commit_a_registration(world, f"u{number}@example.com"))[
            "log_registration"
        ]
        ids.append(str(delivery.envelope.context.causation_id))
    await change(
        world.database,
        sa.update(tables.events).values(subject="7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"),
    )

    about = query("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
    found = await causation_queries.find_traces(world.database, about)

    assert found.is_whole
    assert [node.id for node in found.nodes if node.kind == "command"] == ids[1:]


async def test_a_trace_is_followed_until_all_is_settled(world: SqlWorld) -> None:
    """Whatever settles it, and whichever process: parked is settled, too."""
    first = await commit_a_registration(world)
    sought = query(str(first["log_registration"].envelope.id))
    seen = anyio.Event()
    states: list[Counter[str]] = []

    def watching(found: Traces) -> Sequence[str]:
        states.append(Counter(node.state for node in found.nodes if node.kind == "delivery"))
        seen.set()
        return ()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(show, world.database, sought, watching)
            await seen.wait()
            parked = first.pop("log_registration")
            await world.outbox().record_failure(a_failure(parked))
            for delivery in first.values():
                await world.outbox().settle(delivery)

    assert (states[0], states[-1]) == ({"running": 4}, {"done": 3, "parked": 1})


async def test_history_has_the_latest_commands_and_what_became_of_them(world: SqlWorld) -> None:
    """The newest first; each in a line, with how much of it is done."""
    first = await commit_a_registration(world, "first@example.com")
    for delivery in first.values():
        await world.outbox().settle(delivery)
    await world.move_clock(10)
    second = await commit_a_registration(world, "second@example.com")
    await world.move_clock(3)
    await world.outbox().record_failure(a_failure(second["log_registration"]))

    with counting(world.database) as statements:
        newest, oldest = await command_history.latest_commands(world.database, limit=5)

    assert (newest.about, oldest.about) == ("Иван <second@example.com>", "Иван <first@example.com>")
    assert (oldest.done, oldest.pending, oldest.parked, oldest.seconds) == (4, 0, 0, 0)
    assert (newest.done, newest.pending, newest.parked, newest.seconds) == (0, 3, 1, None)
    assert newest.id == second["log_registration"].envelope.context.causation_id
    assert len(statements) == 3
    assert await command_history.latest_commands(world.database, limit=1) == [newest]


async def test_the_history_reads_what_its_commands_have_caused_however_long_their_trace_is(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may register any number of users in one trace: that must not hold up the server."""
    read = []

    def counted(codec: Codec[object], name: str, version: int, data: str) -> str:
        read.append(name)
        return summary(codec, name, version, data)

    monkeypatch.setattr(causation_tree, "summary", counted)
    for number in range(5):
        await world.move_clock(1)
        claims = await commit_a_registration(world, f"user{number}@example.com")
        await cause_an_event(world, claims["log_registration"], f"below{number}@example.com")
    in_one = {"correlation_id": uuid4()}
    in_both = (tables.commands, tables.events)
    await change(world.database, *(sa.update(table).values(**in_one) for table in in_both))

    newest, _ = await command_history.latest_commands(world.database, limit=2)

    assert len(read) == 4
    assert (newest.about, newest.pending) == ("Иван <user4@example.com>", 7)


async def test_what_a_handler_has_returned_belongs_to_the_command_from_outside(
    world: SqlWorld,
) -> None:
    """With all that it caused, also if that fails; in the history it is no command of its own."""
    claims = await commit_a_registration(world)
    claim = claims["send_welcome_email"]
    origin = MessageOrigin(source=claim.handler)
    answer = replace(a_command_envelope(), origin=origin, settles=claim)
    async with (scope := world.new_uow(answer)) as uow:
        uow.users.add(a_user(email="answer@example.com"))
    failed = next(each for each in scope.committed.claims if each.handler == "log_registration")
    await world.outbox().record_failure(a_failure(failed))

    [row] = await command_history.latest_commands(world.database, limit=5)
    assert row.id == claims["log_registration"].envelope.context.causation_id
    assert (row.done, row.pending, row.parked) == (1, 6, 1)
    assert await command_history.latest_commands(world.database, limit=5, failed_only=True) == [row]


async def test_a_command_without_events_is_in_the_history(world: SqlWorld) -> None:
    """It was received, and changed nothing."""
    async with a_uow(world, received=MessageOrigin(source="/shop", id="m1")):
        pass

    (row,) = await command_history.latest_commands(world.database, limit=5)
    (node,) = await nodes_of(world, str(row.id))

    assert (row.type, row.source, row.about) == ("make_thing", "/shop", "")
    assert (row.done, row.seconds) == (0, None)
    assert (node.kind, node.id) == ("command", str(row.id))


async def test_history_knows_those_that_failed(world: SqlWorld) -> None:
    """Parked, or failed and waiting, or left behind; however deep below the command."""
    for name in ("held", "waits", "parked", "deep", "lost"):
        await world.move_clock(1)
        delivery = (await commit_a_registration(world, f"{name}@example.com"))["log_registration"]
        outbox = world.outbox()
        if name == "waits":
            await outbox.record_failure(a_failure(delivery, retry_in=5))
        elif name == "parked":
            await outbox.record_failure(a_failure(delivery))
        elif name == "deep":
            caused = await cause_an_event(world, delivery, "below@example.com")
            parked = sa.update(tables.deliveries).where(tables.deliveries.c.event_id == caused)
            await change(world.database, parked.values(parked_at=1, owner=None, last_error="no"))
        elif name == "lost":
            is_this = tables.deliveries.c.event_id == delivery.envelope.id
            await change(
                world.database, sa.update(tables.deliveries).where(is_this).values(available_at=1)
            )

    with counting(world.database) as statements:
        failed = await command_history.latest_commands(world.database, limit=10, failed_only=True)

    assert [row.about.partition("<")[2].partition("@")[0] for row in failed] == [
        "lost",
        "deep",
        "parked",
        "waits",
    ]
    assert len(statements) == 3
    assert (
        await command_history.latest_commands(world.database, limit=2, failed_only=True)
        == failed[:2]
    )
