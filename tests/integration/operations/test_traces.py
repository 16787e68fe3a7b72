"""What can be asked about stories, on each database."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from allocation.adapters import orm
from allocation.adapters.database import Database
from allocation.adapters.failures import LEASE_LOST
from allocation.adapters.operations import decisions, history, traces
from allocation.adapters.operations.exceptions import TraceNotFound
from allocation.adapters.operations.traces import SomeId, Sought
from allocation.adapters.operations.trees import TraceNode
from allocation.domain.exceptions import InvalidValue
from allocation.domain.values import EmailAddress
from allocation.entrypoints.operations.trace import show_until_settled
from allocation.service_layer.delivery import Delivery
from allocation.service_layer.envelopes import EventId
from tests.builders import a_failure, a_user
from tests.integration.test_outbox_contract import HANDLERS, commit_an_event, let_leases_end
from tests.worlds import SqlWorld, a_uow, sql_world

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


async def change(world: SqlWorld, *statements: sa.Executable) -> None:
    async with world.database.writing() as session:
        for statement in statements:
            await session.execute(statement)
        await session.commit()


async def cause_an_event(world: SqlWorld, delivery: Delivery, email: str) -> EventId:
    """Let the handler of a delivery commit an event."""
    async with (uow := world.new_uow(delivery)):
        uow.users.add(a_user(email=email))
        await uow.commit()
    return uow.events[0].id


async def node_of(world: SqlWorld, delivery: Delivery) -> TraceNode:
    nodes = await traces.trace(world.database, SomeId(str(delivery.envelope.id)))
    return next(node for node in nodes if node.id == delivery.idempotency_key)


def kinds(nodes: Sequence[TraceNode]) -> list[tuple[str, str]]:
    return [(node.kind, node.name) for node in nodes]


async def test_a_story_is_found_by_every_id_in_it_and_by_address(world: SqlWorld) -> None:
    """Whoever asks has one of them: from a log, a complaint, a list."""
    envelope = (await commit_an_event(world, "Ivan@example.com"))["log_registration"].envelope
    await commit_an_event(world, "another@example.com")
    correlation_id = str(envelope.context.correlation_id)
    ids = [correlation_id, str(envelope.context.causation_id), envelope.subject]

    ids += [str(envelope.id), correlation_id.upper(), f"{correlation_id[:8]}…"]
    abouts: list[Sought] = [EmailAddress("iVAN@example.com"), *map(SomeId, ids)]

    found = [await traces.trace(world.database, about) for about in abouts]

    assert kinds(found[0]) == [
        ("command", "add_coupon_batch"),
        ("event", "user_registered"),
        *(("delivery", name) for name in HANDLERS),
    ]
    assert found == [found[0]] * len(found)
    assert [node.about for node in found[0][:2]] == ["program", "Иван <Ivan@example.com>"]


async def test_what_is_not_stored_has_no_trace(world: SqlWorld) -> None:
    """A typing mistake must not look like a story without end."""
    with pytest.raises(TraceNotFound, match="5f2c8a91; it was looked for as the id of a story"):
        await traces.trace(world.database, SomeId("5f2c8a91"))
    with pytest.raises(TraceNotFound, match="as the e-mail address of a user"):
        await traces.trace(world.database, EmailAddress("nobody@example.com"))


@pytest.mark.parametrize("text", ["", "5f2c8a9", "5f2c8a91x", "5f2c8a91" * 4 + "0", "%" * 36])
async def test_what_is_no_id_is_refused(text: str) -> None:
    """Fewer digits would find anything."""
    with pytest.raises(InvalidValue, match="neither an e-mail address nor an id"):
        SomeId(text)


async def test_the_whole_life_of_a_delivery_can_be_read(world: SqlWorld) -> None:
    """Its process dies, the next attempt fails, the third one succeeds: who, when and why."""
    delivery = (await commit_an_event(world))["log_registration"]
    first = await node_of(world, delivery)
    assert (first.state, first.attempts, first.due_in) == ("leased", 1, world.policy.lease)

    await let_leases_end(world)
    lost = await node_of(world, delivery)
    assert (lost.state, lost.process, lost.due_in) == ("waiting", first.process, -1)

    outbox = world.outbox()
    (claim,) = await outbox.claim(1, ["log_registration"])
    await outbox.record_failure(a_failure(claim, OSError("disk full"), retry_in=5))
    failed = await node_of(world, delivery)
    assert (failed.state, failed.process, failed.due_in) == ("waiting", None, 5)
    assert failed.error == "OSError: disk full"

    await world.move_clock(6)
    (claim,) = await outbox.claim(1, ["log_registration"])
    await outbox.settle(claim)
    done = await node_of(world, delivery)
    assert (done.state, done.attempts, done.error, done.due_at) == ("done", 3, None, None)
    assert done.seconds is not None
    assert [(f.attempt, f.error) for f in done.failures] == [
        (1, LEASE_LOST),
        (2, "OSError: disk full"),
    ]
    assert {failure.process for failure in done.failures} == {first.process}
    assert done.failures[1].failed_at == done.failures[0].failed_at


async def test_what_is_parked_or_discarded_says_so(world: SqlWorld) -> None:
    """Nothing more happens by itself."""
    first = await commit_an_event(world)
    await world.outbox().record_failure(a_failure(first["log_registration"], OSError("no")))
    welcome = first["send_welcome_email"]
    await decisions.discard(world.database, welcome.envelope.id, welcome.handler)

    parked = await node_of(world, first["log_registration"])
    discarded = await node_of(world, welcome)

    assert (parked.state, parked.error, parked.is_settled) == ("parked", "OSError: no", True)
    assert (discarded.state, discarded.error) == ("done", decisions.DISCARDED)
    assert discarded.seconds is None


async def test_an_event_hangs_as_deep_as_its_cause_is_known(world: SqlWorld) -> None:
    """Rows from before the history say less, and are shown all the same."""
    delivery = (await commit_an_event(world))["log_registration"]
    caused = await cause_an_event(world, delivery, "caused@example.com")

    async def parent() -> str | None:
        nodes = await traces.trace(world.database, SomeId(str(caused)))
        return next(node.parent for node in nodes if node.id == str(caused))

    assert await parent() == delivery.idempotency_key
    await change(world, sa.update(orm.events).values(handler=None))
    assert await parent() == str(delivery.envelope.id)
    await change(world, sa.delete(orm.commands))
    nodes = await traces.trace(world.database, SomeId(str(caused)))
    assert (nodes[0].kind, nodes[0].parent) == ("event", None)


@pytest.mark.parametrize("values", [{"type": "user_vanished"}, {"data": "[]"}])
async def test_events_of_other_versions_are_shown_without_words(
    world: SqlWorld, values: dict[str, str]
) -> None:
    """Their names and deliveries are known, and perhaps they are what is wrong."""
    delivery = (await commit_an_event(world))["log_registration"]
    await change(world, sa.update(orm.events).values(**values))

    nodes = await traces.trace(world.database, SomeId(str(delivery.envelope.id)))
    (row,) = await history.history(world.database, limit=5)

    assert (nodes[1].name, nodes[1].about) == (values.get("type", "user_registered"), "")
    assert len(nodes) == 2 + len(HANDLERS)
    assert row.about == delivery.envelope.subject


async def test_data_that_cannot_be_fetched_hide_nothing_else(sqlite_url: str) -> None:
    """SQLite stores what is no UTF-8, and does not give it back."""
    async with sql_world(sqlite_url) as world:
        delivery = (await commit_an_event(world))["log_registration"]
        await change(world, sa.text("UPDATE events SET data = CAST(x'ff' AS TEXT)"))

        assert (await node_of(world, delivery)).state == "leased"


async def test_a_long_story_takes_no_more_statements_than_a_short_one(world: SqlWorld) -> None:
    """One for each kind of thing, not one for each thing."""
    delivery = (await commit_an_event(world))["log_registration"]
    story = SomeId(str(delivery.envelope.context.correlation_id))
    counts = []
    for number in range(11):
        with counting(world.database) as statements:
            nodes = await traces.trace(world.database, story)
        counts.append((len(nodes), len(statements)))
        await cause_an_event(world, delivery, f"user{number}@example.com")
        delivery = await _claimed(world)

    assert (counts[0], counts[-1]) == ((6, 3), (56, 3))


async def _claimed(world: SqlWorld) -> Delivery:
    await let_leases_end(world)
    (delivery,) = await world.outbox().claim(1, ["log_registration"])
    return delivery


async def test_of_many_stories_the_newest_are_shown(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may have been here for years."""
    monkeypatch.setattr(traces, "MAX_STORIES", 2)
    ids = []
    for number in range(3):
        await world.move_clock(1)
        delivery = (await commit_an_event(world, f"u{number}@example.com"))["log_registration"]
        ids.append(str(delivery.envelope.context.causation_id))
    await change(
        world, sa.update(orm.events).values(subject="7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11")
    )

    nodes = await traces.trace(world.database, SomeId("7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"))

    assert [node.id for node in nodes if node.kind == "command"] == ids[1:]


async def test_a_trace_is_followed_until_all_is_settled(world: SqlWorld) -> None:
    """Whatever settles it, and whichever process: parked is settled, too."""
    first = await commit_an_event(world)
    sought = SomeId(str(first["log_registration"].envelope.id))
    seen = anyio.Event()
    states: list[Counter[str]] = []

    class Watching:
        def news(self, nodes: Sequence[TraceNode], *, settled: bool) -> Iterator[str]:
            states.append(Counter(node.state for node in nodes if node.kind == "delivery"))
            seen.set()
            yield from ()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(show_until_settled, world.database, sought, Watching())
            await seen.wait()
            parked = first.pop("log_registration")
            await world.outbox().record_failure(a_failure(parked))
            for delivery in first.values():
                await world.outbox().settle(delivery)

    assert (states[0], states[-1]) == ({"leased": 4}, {"done": 3, "parked": 1})


async def test_history_has_the_latest_commands_and_what_became_of_them(world: SqlWorld) -> None:
    """The newest first; each in a line, with how much of it is done."""
    first = await commit_an_event(world, "first@example.com")
    for delivery in first.values():
        await world.outbox().settle(delivery)
    await world.move_clock(10)
    second = await commit_an_event(world, "second@example.com")
    await world.move_clock(3)
    await world.outbox().record_failure(a_failure(second["log_registration"]))

    with counting(world.database) as statements:
        newest, oldest = await history.history(world.database, limit=5)

    assert (newest.about, oldest.about) == ("Иван <second@example.com>", "Иван <first@example.com>")
    assert (oldest.done, oldest.waiting, oldest.parked, oldest.seconds) == (4, 0, 0, 0)
    assert (newest.done, newest.waiting, newest.parked, newest.seconds) == (0, 3, 1, None)
    assert newest.id == second["log_registration"].envelope.context.causation_id
    assert len(statements) == 2
    assert await history.history(world.database, limit=1) == [newest]


async def test_a_command_without_events_is_in_the_history(world: SqlWorld) -> None:
    """It was accepted, and changed nothing."""
    async with (uow := a_uow(world)):
        await uow.commit()

    (row,) = await history.history(world.database, limit=5)
    (node,) = await traces.trace(world.database, SomeId(str(row.id)))

    assert (row.type, row.source, row.about) == ("add_coupon_batch", "program", "")
    assert (row.done, row.seconds) == (0, None)
    assert (node.kind, node.id) == ("command", str(row.id))


async def test_history_knows_those_that_failed(world: SqlWorld) -> None:
    """Parked, or failed and waiting, or left behind; however deep below the command."""
    for name in ("held", "waits", "parked", "deep", "lost"):
        await world.move_clock(1)
        delivery = (await commit_an_event(world, f"{name}@example.com"))["log_registration"]
        outbox = world.outbox()
        if name == "waits":
            await outbox.record_failure(a_failure(delivery, retry_in=5))
        elif name == "parked":
            await outbox.record_failure(a_failure(delivery))
        elif name == "deep":
            caused = await cause_an_event(world, delivery, "below@example.com")
            parked = sa.update(orm.deliveries).where(orm.deliveries.c.event_id == caused)
            await change(world, parked.values(parked_at=1, process=None, last_error="no"))
        elif name == "lost":
            is_this = orm.deliveries.c.event_id == delivery.envelope.id
            await change(world, sa.update(orm.deliveries).where(is_this).values(due_at=1))

    with counting(world.database) as statements:
        failed = await history.history(world.database, limit=10, failed_only=True)

    assert [row.about.partition("<")[2].partition("@")[0] for row in failed] == [
        "lost",
        "deep",
        "parked",
        "waits",
    ]
    assert len(statements) == 2
    assert await history.history(world.database, limit=2, failed_only=True) == failed[:2]
