"""No process starts a paused handler until it is resumed: on each database."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any
from uuid import uuid4

import anyio
import pytest
import sqlalchemy as sa
from aftercommit import Transaction, open_unit_of_work
from aftercommit.extensions.operations.decisions import Decision

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import (
    MARIA,
    NAMES,
    a_command_work,
    a_failure,
    a_thing,
    an_envelope,
    some_deliveries,
)
from aftercommit_tests.command_line import CommandLine
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.extensions.operations.conftest import (
    listed,
    make_things,
    seconds_since_start,
)
from aftercommit_tests.inside import stored
from aftercommit_tests.inside.errors import HandlerNotFound
from aftercommit_tests.inside.operations import (
    LONGEST,
    Pause,
    all_names,
    delivery_admin,
    handler_pauses,
    latest_decisions,
)
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.handlers import CODEC
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import Unit, World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

NAME = "announce"


async def pause(world: World, name: str = NAME, decision: Decision = MARIA) -> int | None:
    return await handler_pauses.pause(world.database, [name], decision)


async def resume(world: World) -> int | None:
    return await handler_pauses.resume(world.database, [NAME], MARIA)


async def pauses(world: World) -> Sequence[Pause]:
    async with world.database.read_transaction() as transaction:
        return await handler_pauses.paused_handlers(transaction)


async def test_what_was_paused_is_due_when_it_would_have_been(world: World) -> None:
    """Due, or only later: a pause moves no time, and shows the true one."""
    claims = await world.make_thing()
    await world.delivery_store().record_failure(a_failure(claims[NAME], retry_in=500))

    assert await pause(world) == 1
    shown = (await listed(world))[NAME]
    assert shown.state == "paused"
    assert seconds_since_start(shown.available_at) == 500
    await world.move_clock(1000)
    claimed = {claim.handler for claim in await world.delivery_store().claim(10, NAMES)}
    assert claimed == {*NAMES} - {NAME}

    assert await resume(world) == 1
    assert seconds_since_start((await listed(world))[NAME].available_at) == 500
    [claim] = await world.delivery_store().claim(10, [NAME])
    assert claim.attempt == 2


async def test_who_has_paused_what_and_when_is_known(world: World) -> None:
    """Until it is resumed; a second person changes nothing."""
    assert await resume(world) is None
    assert await pause(world) == 0
    await world.move_clock(10)
    assert await pause(world, decision=Decision(by="Ivan")) is None

    [paused] = await pauses(world)
    assert (paused.handler, paused.paused_by) == (NAME, "Maria")
    assert seconds_since_start(paused.paused_at) == 0
    assert await resume(world) == 0
    assert await pauses(world) == []
    decided = [(d.decision, d.handler) for d in await latest_decisions(world.database, limit=5)]
    assert decided == [("resume", NAME), ("pause", NAME)]  # what changed nothing, decided nothing


async def test_an_attempt_that_has_begun_during_the_pause_is_shown_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may not know of the pause yet; how long such an attempt took is right, too."""
    monkeypatch.setattr(stored.pauses, "PAUSES_SECONDS", inf)
    store = world.delivery_store()

    async def announced(name: str) -> Unit:
        opened = open_unit_of_work(store, UnitOfWork, a_command_work())
        async with (unit := Unit(opened, world.envelopes)) as uow:
            uow.things.add(a_thing(name))
        return unit

    await announced("before the pause")
    await pause(world)
    begun = await announced("during it")
    [claim] = [each for each in begun.committed.claims if each.handler == NAME]
    assert (await listed(world))[NAME].state == "running"
    await world.move_clock(3)
    await store.complete(claim)

    durations = [row.duration_seconds for row in await world.rows(*tables.deliveries.c)]
    assert [seconds for seconds in durations if seconds is not None] == [3]


async def test_many_deliveries_are_released_some_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit of one waits for the last of these transactions, which has few to release."""
    monkeypatch.setattr(handler_pauses, "RELEASED_TOGETHER", 2)
    await world.delivery_store().release([claims[NAME] for claims in await make_things(world, 5)])
    assert await pause(world) == 5

    with asked_of(world.database) as statements:
        assert await resume(world) == 5

    releases = [each for each in statements if each.sql.startswith("UPDATE aftercommit_deliveries")]
    assert len(releases) == 4 + 2  # those of ordered handlers that are blocked have their own index
    assert len(await world.delivery_store().claim(10, [NAME])) == 5


async def test_all_names_of_a_handler_are_paused(new_world: NewWorld) -> None:
    """Rows of older releases have its old names; one that is unknown is refused with the others."""
    world = await new_world(renamed={"ring": NAME, "toll": NAME})
    known = world.application.handlers
    assert {*all_names(known, "ring")} == {*all_names(known, NAME)} == {NAME, "ring", "toll"}
    with pytest.raises(HandlerNotFound, match="'rin' is not a handler of events; similar are ring"):
        all_names(known, "rin")
    with pytest.raises(
        HandlerNotFound, match="these are announce, look_at, ring, toll, write_down"
    ):
        all_names(known, "fax")

    await world.make_thing()
    await world.execute(sa.update(tables.deliveries).values(owner=None, available_at=0.0))
    this = tables.deliveries.c.handler == NAME
    await world.execute(sa.update(tables.deliveries).where(this).values(handler="ring"))

    assert await pause(world) == 0  # of a release that knew but one of them
    assert await handler_pauses.pause(world.database, all_names(known, NAME), MARIA) == 1
    assert await world.delivery_store().claim(10, [NAME, "ring"]) == []


async def test_a_pause_of_a_handler_that_is_gone_can_be_lifted(world: World) -> None:
    """A release has removed it while it was paused; a misspelled name is refused as before."""
    await pause(world, "send_fax")

    names = await handler_pauses.paused_names(world.application, "send_fax")

    assert await handler_pauses.resume(world.database, names, MARIA) == 0
    assert await pauses(world) == []
    with pytest.raises(HandlerNotFound, match=NAME):
        await handler_pauses.paused_names(world.application, "send_fax")


async def test_what_is_retried_while_its_handler_is_paused_waits_too(world: World) -> None:
    """It begins again when it is resumed; all that is not parked is left alone."""
    [parked, held] = await make_things(world, 2)
    await world.delivery_store().record_failure(a_failure(parked[NAME]))
    await world.delivery_store().release([held[NAME]])
    await pause(world)
    key = held[NAME].envelope.id, NAME
    before = (await world.deliveries())[key]

    assert await delivery_admin.retry_all_parked(world.database, MARIA) == {"paused": 1}
    assert (await world.deliveries())[key] == before
    assert (await listed(world))[NAME].state == "paused"
    assert await world.delivery_store().claim(10, [NAME]) == []
    assert await resume(world) == 2
    assert [claim.attempt for claim in await world.delivery_store().claim(10, [NAME])] == [1, 1]


@asynccontextmanager
async def waited_for(world: World, *waiting: Callable[[World], Any]) -> AsyncIterator[Transaction]:
    """Open a transaction, and commit it when all these wait for it, each in another one."""
    number = sa.text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with anyio.fail_after(60):
        async with (
            anyio.create_task_group() as group,
            world.other_database.write_transaction() as transaction,
        ):
            yield transaction
            for each in waiting:
                group.start_soon(each, world)
            found = 0
            while found < len(waiting):
                await anyio.sleep(0.01)
                async with world.database.read_transaction() as looking:
                    found = (await looking.execute(number)).scalar_one()
            await transaction.commit()


async def test_two_people_who_resume_at_once_release_each_delivery_once(
    postgres_world: World,
) -> None:
    """The second one waits for the rows of the first: a pause must not be taken off twice."""
    world = postgres_world
    await world.delivery_store().release([(await world.make_thing())[NAME]])
    before = await world.deliveries()
    await pause(world)

    async with waited_for(world, resume, resume) as person:
        await person.execute(sa.text("SELECT * FROM aftercommit_deliveries FOR UPDATE"))

    assert await world.deliveries() == before


async def test_who_resumes_finds_what_is_being_committed(postgres_world: World) -> None:
    """A commit that has seen the pause is waited for, or its delivery would wait forever."""
    world = postgres_world
    await pause(world)

    async with waited_for(world, resume) as committing:
        await world.delivery_store().store(committing, *some_deliveries(NAME))

    assert len(await world.delivery_store().claim(10, [NAME])) == 1


async def test_who_commits_while_a_handler_is_resumed_waits(postgres_world: World) -> None:
    """It would store a pause that is over."""
    world = postgres_world
    await pause(world)

    async with waited_for(world, World.make_thing) as resuming:
        await resuming.execute(sa.delete(tables.handler_pauses))

    await world.end_leases()
    assert len(await world.delivery_store().claim(10, [NAME])) == 1


async def test_of_two_who_pause_at_once_one_is_told_that_it_is_paused(
    postgres_world: World,
) -> None:
    """It is what both want."""
    told: list[int | None] = []

    async def be_second(world: World) -> None:
        told.append(await pause(world))

    async with waited_for(postgres_world, be_second) as first:
        values = {"handler": NAME, "paused_at": 0.0, "paused_by": "Ivan"}
        await first.execute(sa.insert(tables.handler_pauses), values)

    [paused] = await pauses(postgres_world)
    assert (told, paused.paused_by) == ([None], "Ivan")


async def test_claims_do_not_read_what_is_paused(world: World) -> None:
    """All that is held, at the head of the index, would be read by each claim of each worker."""
    event = CODEC.to_row(an_envelope()) | {"recorded_at": 0.0}
    due = {"handler": NAME, "attempts": 0, "token": 1, "available_at": 0.0, "replay": False}
    due["schema_version"] = 1
    ids = [uuid4() for _ in range(10_000)]
    async with world.database.write_transaction(no_timeout=True) as transaction:
        await transaction.execute(sa.insert(tables.events), [event | {"id": each} for each in ids])
        held = [due | {"event_id": each} for each in ids]
        await transaction.execute(sa.insert(tables.deliveries), held)
        await transaction.commit()
    assert await pause(world) == len(ids)
    await world.execute(sa.text("ANALYZE"))

    with asked_of(world.database) as asked:
        assert await world.bus.delivery_store.claim(10, NAMES) == []

    engine, explained = world.database.engine, list[str]()
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN ANALYZE"}[engine.dialect.name]
    for each in asked:
        if each.sql.startswith(("WITH due", "WITH found")):
            async with engine.connect() as connection:
                plan = await connection.exec_driver_sql(f"{explain} {each.sql}", each.values)
                explained.append("\n".join(map(str, plan)))
                await connection.rollback()
    assert explained
    for steps in explained:
        assert re.search(r"available_at<\?|Index Cond: .*available_at <=", steps), steps
        read = re.findall(r"Removed by \w+: (\d+)|actual \S+ rows=(\d+)", steps)
        assert all(int(removed or found) < 10 for removed, found in read), steps


def test_a_handler_is_paused_from_the_command_line(command_line: CommandLine) -> None:
    """Who it was is the user of the operating system, or who it is said to be."""
    assert "paused: 0 deliveries held" in command_line.shows("deliveries", "pause", NAME)
    again = command_line.shows("deliveries", "pause", NAME, "--by", "Maria")
    assert again == f"{NAME} was already paused\n"
    name, _, who = command_line.shows("deliveries", "pauses").split()
    assert (name, "@" in who) == (NAME, True)

    command_line.run("make-thing", "lamp")
    assert "paused" in command_line.shows("deliveries", "list")
    command_line.shows("worker", "--until-idle")
    assert "1 delivery released" in command_line.shows("deliveries", "resume", NAME)
    assert "was not paused" in command_line.shows("deliveries", "resume", NAME)
    command_line.shows("worker", "--until-idle")
    assert command_line.shows("deliveries", "list") == ""

    for decide in ("pause", "resume"):
        unknown = command_line.run("deliveries", decide, "send_fax")
        assert (unknown.returncode, "these are announce" in unknown.stderr) == (1, True)


@pytest.mark.parametrize(("option", "most"), LONGEST.items())
def test_who_decides_and_why_have_a_limit(
    command_line: CommandLine, option: str, most: int
) -> None:
    """They are shown in every list, and one of them in metrics."""
    command_line.shows("db", "upgrade")
    pause = ("deliveries", "pause", NAME, f"--{option}")

    refused = command_line.run(*pause, "x" * (most + 1))

    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"the {option} of a decision has {most + 1} characters" in refused.stderr
    command_line.shows(*pause, "x" * most)


def test_a_subscription_is_paused_from_the_command_line(command_line: CommandLine) -> None:
    """It has no deliveries: its messages stay at the broker."""
    name = "from.catalogue"
    held = "from.catalogue paused: its messages wait at the broker"
    assert held in command_line.shows("deliveries", "pause", name, "--by", "Maria")
    assert command_line.shows("deliveries", "pauses").split()[::2] == [name, "Maria"]
    assert "resumed" in command_line.shows("deliveries", "resume", name)
    assert command_line.shows("deliveries", "pauses") == ""
    unknown = command_line.run("deliveries", "pause", "from.katalog")
    assert (unknown.returncode, "from.katalog" in unknown.stderr) == (1, True)


def test_check_says_where_messages_of_other_services_come_from(command_line: CommandLine) -> None:
    """And which command they become."""
    command_line.run("make-thing", "lamp")
    found = command_line.shows("check")
    assert "from.catalogue: exchange catalogue.events (item.listed, item.relisted)" in found
    assert "becomes MakeThing" in found
