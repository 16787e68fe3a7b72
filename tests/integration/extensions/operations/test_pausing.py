"""Handlers are paused and resumed by a person: on each database."""

import re
from collections.abc import Sequence
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy as sa
from aftercommit.claims import Claim
from aftercommit.extensions.operations import delivery_admin, handler_pauses
from aftercommit.extensions.operations.delivery_admin import listed_deliveries
from aftercommit.extensions.operations.exceptions import HandlerNotFound
from aftercommit.extensions.operations.handler_pauses import Pause
from aftercommit.extensions.operations.worker_services import unclaimable_deliveries
from aftercommit.sql import tables
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.unit_of_work import open_unit_of_work
from sqlalchemy import event

from allocation.adapters.unit_of_work import SqlAlchemyUnitOfWork
from tests.asked import asked_of
from tests.builders import (
    CODEC,
    HANDLER_NAMES,
    POLICY,
    a_command_envelope,
    a_failure,
    a_user,
    a_user_registered,
    an_envelope,
)
from tests.command_line import Application
from tests.integration.extensions.operations.conftest import commit_events, rows
from tests.integration.test_outbox_contract import let_leases_end
from tests.worlds import SqlWorld, Unit, commit_a_registration, sql_world

NAME = "send_welcome_email"


async def pause(world: SqlWorld) -> int | None:
    return await handler_pauses.pause(world.database, [NAME], by="Maria")


async def resume(world: SqlWorld) -> int | None:
    return await handler_pauses.resume(world.database, [NAME])


async def outstanding(world: SqlWorld) -> dict[str, delivery_admin.Delivery]:
    async with world.database.read_transaction() as transaction:
        listed = listed_deliveries(transaction, world.database)
        return {row.handler: row async for row in listed}


async def states(world: SqlWorld) -> dict[str, str]:
    return {handler: row.state for handler, row in (await outstanding(world)).items()}


async def pauses(world: SqlWorld) -> Sequence[Pause]:
    async with world.database.read_transaction() as transaction:
        return await handler_pauses.paused_handlers(transaction)


@pytest.mark.anyio
async def test_what_was_paused_is_due_when_it_would_have_been(world: SqlWorld) -> None:
    """Due, or only later: a pause moves no time, nor does it show another than the true one."""
    [first] = await commit_events(world, 1)
    await world.outbox().record_failure(a_failure(first[NAME], OSError(), retry_in=500))
    before = await world.deliveries()

    assert await pause(world) == 1
    shown = (await outstanding(world))[NAME]
    assert shown.state == "paused"
    assert shown.available_at
    assert shown.available_at.timestamp() == pytest.approx(1_000_500, abs=5)
    await let_leases_end(world)
    assert NAME not in {each.handler for each in await world.outbox().claim(10, HANDLER_NAMES)}
    await world.move_clock(1000)
    assert await world.outbox().claim(10, [NAME]) == []
    assert await resume(world) == 1

    [claim] = await world.outbox().claim(10, [NAME])
    key = claim.envelope.id, NAME
    assert (claim.attempt, before[key].attempts) == (2, 1)


@pytest.mark.anyio
async def test_who_has_paused_what_and_when_is_known(world: SqlWorld) -> None:
    """Until it is resumed; a second person changes nothing."""
    assert await resume(world) is None
    assert await pause(world) == 0
    await world.move_clock(10)
    assert await handler_pauses.pause(world.database, [NAME], by="Ivan") is None

    [paused] = await pauses(world)
    assert (paused.handler, paused.paused_by) == (NAME, "Maria")
    assert paused.paused_at.timestamp() == 1_000_000

    assert await resume(world) == 0
    assert await pauses(world) == []


@pytest.mark.anyio
async def test_what_a_process_runs_that_does_not_know_of_the_pause_yet_lasts_no_other_time(
    world: SqlWorld,
) -> None:
    """It looks once a second: what it has begun is running, and is done in seconds."""
    outbox = new_outbox(world.database, world.policy)

    async def register(email: str) -> Claim:
        work = a_command_envelope()
        unit = Unit(open_unit_of_work(outbox, SqlAlchemyUnitOfWork, work), world.envelopes, work)
        async with unit as uow:
            uow.users.add(a_user(email=email))
        return next(claim for claim in unit.committed.claims if claim.handler == NAME)

    await register("one@example.com")
    await pause(world)
    begun = await register("two@example.com")

    assert (await states(world))[NAME] == "running"
    await world.move_clock(3)
    await outbox.settle(begun)

    durations = sa.select(tables.deliveries.c.duration_seconds)
    [(duration,)] = await rows(
        world.database, durations.where(tables.deliveries.c.completed_at > 0)
    )
    assert duration == 3


@pytest.mark.anyio
async def test_many_deliveries_are_released_some_at_a_time(
    world: SqlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever commits one waits for the last of these transactions: that one has few to release."""
    monkeypatch.setattr(handler_pauses, "RELEASED_TOGETHER", 2)
    for first in await commit_events(world, 5):
        await world.outbox().release([first[NAME]])
    assert await pause(world) == 5

    with asked_of(world.database) as statements:
        assert await resume(world) == 5

    releases = [each for each in statements if each.sql.startswith("UPDATE aftercommit_deliveries")]
    assert len(releases) == 4
    assert len(await world.outbox().claim(10, [NAME])) == 5


@pytest.mark.anyio
async def test_two_people_who_resume_at_once_release_each_delivery_once(postgres_url: str) -> None:
    """The second one waits for the rows of the first: a pause must not be taken off twice."""
    async with sql_world(postgres_url) as world:
        await world.outbox().release([(await commit_events(world, 1))[0][NAME]])
        before = await world.deliveries()
        await pause(world)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        waiting += " AND datname = current_database()"

        with (
            anyio.fail_after(60),
            psycopg.connect(postgres_url) as person,
            psycopg.connect(postgres_url, autocommit=True) as looks,
        ):
            person.execute("SELECT * FROM aftercommit_deliveries FOR UPDATE")
            async with anyio.create_task_group() as group:
                group.start_soon(resume, world)
                group.start_soon(resume, world)
                while looks.execute(waiting).fetchone() != (2,):  # noqa: ASYNC110 - not our process
                    await anyio.sleep(0.01)
                person.rollback()

        assert await world.deliveries() == before


def test_all_names_of_a_handler_are_paused() -> None:
    """Rows of older releases have its old names; one that is unknown is refused with the others."""
    handlers = {"write": "write", "greet": "greet", "welcome": "greet", "hello": "greet"}

    assert {*delivery_admin.all_names(handlers, "greet")} == {"greet", "welcome", "hello"}
    assert {*delivery_admin.all_names(handlers, "hello")} == {"greet", "welcome", "hello"}
    with pytest.raises(HandlerNotFound, match="none of greet, hello, welcome, write"):
        delivery_admin.all_names(handlers, "grete")


@pytest.mark.anyio
async def test_a_pause_of_a_handler_that_is_gone_can_be_lifted(world: SqlWorld) -> None:
    """A release has removed it while it was paused; a misspelled name is refused as before."""
    await handler_pauses.pause(world.database, ["send_fax"], by="Maria")
    handlers = {NAME: NAME}

    names = await handler_pauses.paused_names(world.database, handlers, "send_fax")

    assert await handler_pauses.resume(world.database, names) == 0
    assert await pauses(world) == []
    with pytest.raises(HandlerNotFound, match=NAME):
        await handler_pauses.paused_names(world.database, handlers, "send_fax")


@pytest.mark.anyio
async def test_what_is_retried_while_its_handler_is_paused_waits_too(world: SqlWorld) -> None:
    """It begins anew, when the handler does; and stands in no claim's way until then."""
    [first] = await commit_events(world, 1)
    await world.outbox().record_failure(a_failure(first[NAME], OSError()))
    await pause(world)

    assert await delivery_admin.retry_all_parked(world.database) == 1
    assert (await states(world))[NAME] == "paused"
    assert await world.outbox().claim(10, [NAME]) == []
    assert await resume(world) == 1
    [claim] = await world.outbox().claim(10, [NAME])
    assert claim.attempt == 1


@pytest.mark.anyio
async def test_all_that_is_retried_leaves_what_is_paused_or_for_later_alone(
    world: SqlWorld,
) -> None:
    """Only what is named by its id is retried although it is not parked."""
    [first] = await commit_events(world, 1)
    await world.outbox().release([first[NAME]])
    await pause(world)
    before = await world.deliveries()

    assert await delivery_admin.retry_all_parked(world.database) == 0
    assert await world.deliveries() == before


@pytest.mark.anyio
async def test_nobody_is_warned_of_what_is_paused(world: SqlWorld) -> None:
    """Somebody wants it so, and it is no handler that is missing."""
    await commit_a_registration(world)
    await let_leases_end(world)
    await pause(world)

    assert await unclaimable_deliveries(world.database, HANDLER_NAMES, overdue=0) == []


@pytest.mark.anyio
async def test_who_resumes_finds_what_is_being_committed(postgres_url: str) -> None:
    """A commit that has seen the pause is waited for, or its delivery would wait for ever."""
    async with sql_world(postgres_url) as world:
        await pause(world)
        async with (
            anyio.create_task_group() as group,
            world.other_database.write_transaction() as committing,
        ):
            outbox = new_outbox(world.other_database, POLICY)
            await outbox.store(committing, [(an_envelope(a_user_registered()), {NAME: 0.0})])
            group.start_soon(resume, world)
            await somebody_waits(world)
            await committing.commit()

        assert len(await world.outbox().claim(10, [NAME])) == 1


@pytest.mark.anyio
async def test_who_commits_while_a_handler_is_resumed_waits(postgres_url: str) -> None:
    """It would store a pause that is over."""
    async with sql_world(postgres_url) as world:
        await pause(world)
        async with (
            anyio.create_task_group() as group,
            world.other_database.write_transaction() as resuming,
        ):
            await resuming.execute(sa.delete(tables.handler_pauses))
            group.start_soon(commit_a_registration, world)
            await somebody_waits(world)
            await resuming.commit()

        row = next(row for key, row in (await world.deliveries()).items() if key[1] == NAME)
        assert row.available_at < 3600


@pytest.mark.anyio
async def test_of_two_who_pause_at_once_one_is_told_that_it_is_paused(postgres_url: str) -> None:
    """It is what both want."""
    told: list[int | None] = []
    async with sql_world(postgres_url) as world:

        async def be_second() -> None:
            told.append(await pause(world))

        async with (
            anyio.create_task_group() as group,
            world.other_database.write_transaction() as first,
        ):
            values = {"handler": NAME, "paused_at": 0.0, "paused_by": "Ivan"}
            await first.execute(sa.insert(tables.handler_pauses), values)
            group.start_soon(be_second)
            await somebody_waits(world)
            await first.commit()

        [paused] = await pauses(world)
    assert (told, paused.paused_by) == ([None], "Ivan")


async def somebody_waits(world: SqlWorld) -> None:
    """Wait until a transaction waits for another one."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with anyio.fail_after(60):
        while True:
            async with world.database.read_transaction() as transaction:
                if (await transaction.execute(waiting)).scalar_one():
                    return
            await anyio.sleep(0.01)


@pytest.mark.anyio
async def test_claims_do_not_read_what_is_paused(world: SqlWorld) -> None:
    """100,000 rows at the head of the index would be read by each claim of each worker."""
    database, engine = world.database, world.database.engine.sync_engine
    columns = [column for column in tables.events.c if column.name != "id"]
    new_id = {"sqlite": "lower(hex(randomblob(16)))", "postgresql": "gen_random_uuid()"}
    due = {"handler": NAME, "attempts": 0, "token": 1, "available_at": 0.0, "replay": False}
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)"
    names = ", ".join(column.name for column in columns)
    async with database.write_transaction(no_timeout=True) as transaction:
        first = sa.insert(tables.events).values(recorded_at=0.0)
        await transaction.execute(first, [CODEC.to_row(an_envelope(a_user_registered()))])
        some_id = new_id[engine.dialect.name]
        many = f"{numbers} SELECT {some_id}, {names} FROM aftercommit_events CROSS JOIN n"
        await transaction.execute(sa.text(f"INSERT INTO aftercommit_events (id, {names}) {many}"))
        values = [sa.literal(value).label(name) for name, value in due.items()]
        all_due = sa.select(tables.events.c.id, *values)
        insert = sa.insert(tables.deliveries).from_select(["event_id", *due], all_due)
        await transaction.execute(insert)
        await transaction.commit()
    assert await pause(world) == 100_000
    async with database.write_transaction() as transaction:
        await transaction.execute(sa.text("ANALYZE"))
        await transaction.commit()
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3])))

    assert await new_outbox(database, POLICY).claim(10, HANDLER_NAMES) == []

    for sql, values in [each for each in asked if each[0].startswith("WITH due")]:
        async with database.engine.connect() as connection:
            explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN ANALYZE"}
            plan = f"{explain[engine.dialect.name]} {sql}"
            steps = "\n".join(map(str, await connection.exec_driver_sql(plan, values)))
            await connection.rollback()
        assert re.search(r"available_at<\?|Index Cond: .*available_at <=", steps), steps
        read = re.findall(r"Removed by \w+: (\d+)|actual \S+ rows=(\d+)", steps)
        assert all(int(removed or found) < 10 for removed, found in read), steps


def test_a_handler_is_paused_from_the_command_line(application: Application) -> None:
    """Who it was is the user of the operating system, or who it is said to be."""
    assert "paused: 0 deliveries held" in application.run("deliveries", "pause", NAME).stdout
    again = application.run("deliveries", "pause", NAME, "--by", "Maria")
    assert (again.stdout, again.returncode) == (f"{NAME} was paused already\n", 0)
    name, _, who = application.run("deliveries", "pauses").stdout.split()
    assert (name, "@" in who) == (NAME, True)

    application.run("register-user", "Иван", "ivan@example.com")
    assert "paused" in application.run("deliveries", "list").stdout
    assert f"{NAME}       paused, attempt 1" in application.run("trace", "ivan@example.com").stdout
    assert application.run("worker", "--until-idle").returncode == 0

    assert "1 delivery released" in application.run("deliveries", "resume", NAME).stdout
    assert "was not paused" in application.run("deliveries", "resume", NAME).stdout
    assert application.run("worker", "--until-idle").returncode == 0
    assert NAME not in application.run("deliveries", "list").stdout
    application.run("deliveries", "pause", NAME, "--by", "\udcff")
    assert application.run("deliveries", "pauses").stdout.split()[2] == "?"
    application.rows_changed("UPDATE aftercommit_handler_pauses SET handler = 'send_mail'")
    assert "send_mail resumed" in application.run("deliveries", "resume", "send_mail").stdout
    unknown = application.run("deliveries", "resume", "send_mail")
    assert (unknown.returncode, "none of allocate_welcome_" in unknown.stderr) == (1, True)
    unknown = application.run("deliveries", "pause", "send_mail")
    assert (unknown.returncode, "none of allocate_welcome_" in unknown.stderr) == (1, True)
