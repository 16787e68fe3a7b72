"""What only a real outbox can show: rows nobody can read, and many of them."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import anyio
import pytest
from aftercommit.claims import Claim
from aftercommit.errors import DeliverySuperseded, InvalidPayload
from aftercommit.sql import tables
from aftercommit.sql.batch_settlement import BATCH_SIZE
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import DatabaseUnavailable, StatementRefused
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.schema import ensure_schema
from anyio.lowlevel import checkpoint
from sqlalchemy import delete, event, inspect, text, update

from allocation.adapters import orm
from allocation.messages import UPCASTERS
from tests.asked import asked_of
from tests.builders import HANDLER_NAMES, POLICY, a_delivery, a_failure, an_envelope, open_database
from tests.things import HANDLERS_OF_THING_MADE, ThingRenamed, a_thing, things_of
from tests.worlds import SqlWorld, a_uow, sql_world

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(sqlite_url: str) -> AsyncIterator[SqlWorld]:
    """One on SQLite, where what is stored can be damaged."""
    async with sql_world(sqlite_url) as world:
        yield world


async def commit_an_event(world: SqlWorld) -> tuple[Claim, ...]:
    """Commit one, and return the first claims on its deliveries."""
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    return scope.committed.claims


@pytest.mark.parametrize("change", [{"type": "thing_vanished"}, {"schema_version": 99}])
async def test_what_only_a_newer_process_can_read_is_left_to_it(
    world: SqlWorld, change: dict[str, str | int]
) -> None:
    """While old and new run side by side, the old ones give nothing up that the new ones can do."""
    await commit_an_event(world)
    async with world.database.write_transaction() as transaction:
        await transaction.execute(update(tables.events).values(**change))
        await transaction.commit()
    before = await world.deliveries()
    await world.move_clock(world.policy.lease_seconds + 1)
    outbox = world.outbox()

    assert await outbox.claim(10, HANDLER_NAMES) == []

    assert await outbox.seconds_until_due(HANDLER_NAMES) is None
    assert {key: row.attempts for key, row in (await world.deliveries()).items()} == {
        key: row.attempts for key, row in before.items()
    }


async def test_an_error_that_cannot_be_stored_keeps_its_cause(world: SqlWorld) -> None:
    """Whoever looks at a parked delivery must see why, whatever a library puts into its text."""
    await commit_an_event(world)
    await world.move_clock(world.policy.lease_seconds + 1)
    delivery, *_ = await world.outbox().claim(10, HANDLER_NAMES)

    failure = a_failure(delivery, ValueError("half a \ud83d and a \0"))
    await world.outbox().record_failure(failure)

    row = (await world.deliveries())[delivery.envelope.id, delivery.handler]
    assert row.last_error == "ValueError: half a \\ud83d and a \\0"


async def test_after_an_outage_a_settle_settles_its_own_delivery(world: SqlWorld) -> None:
    """However many have failed before it: an e-mail that counts as sent must not go out again."""
    claims = [claim for _ in range(50) for claim in await commit_an_event(world)]
    *before, last = claims
    outbox, failed = world.outbox(), list[Claim]()

    async def settle(claim: Claim) -> None:
        with pytest.raises(StatementRefused):
            await outbox.settle(claim)
        failed.append(claim)

    async with world.database.write_transaction() as transaction:
        await transaction.execute(text("ALTER TABLE aftercommit_deliveries RENAME TO away"))
        await transaction.commit()
    async with anyio.create_task_group() as group:
        for claim in before:
            group.start_soon(settle, claim)
    async with world.database.write_transaction() as transaction:
        await transaction.execute(text("ALTER TABLE away RENAME TO aftercommit_deliveries"))
        await transaction.commit()

    await outbox.settle(last)

    assert len(failed) == len(before) > BATCH_SIZE
    assert set(await world.finished()) == {(last.envelope.id, last.handler)}


async def test_settling_that_is_cancelled_anywhere_loses_and_doubles_nothing(
    world: SqlWorld,
) -> None:
    """Settled or not settled, and the second try of the same claim is no other owner's."""
    outbox = new_outbox(world.database, world.policy)
    for steps in range(60):
        claims = await commit_an_event(world)
        async with anyio.create_task_group() as group:
            for claim in claims:
                group.start_soon(outbox.settle, claim)
            for _ in range(steps):
                await checkpoint()
            group.cancel_scope.cancel()

        for claim in claims:
            await outbox.settle(claim)

    assert len(await world.finished()) == 60 * len(HANDLERS_OF_THING_MADE)


OF_THIS = "InvalidPayload: invalid payload of thing_made"
OF_SOME = "InvalidPayload: invalid payload of an event"
BROKEN = {
    "no JSON": ({"data": "{]"}, f"{OF_THIS}: JSON is malformed"),
    "other types": ({"data": '{"thing_id": 7}'}, OF_THIS),
    "too many levels": ({"data": '{"x":' * 100_000}, OF_THIS),
    "no UTF-8": ({"data": b"\xff"}, f"{OF_THIS}: 'utf-8' codec"),
    "a megabyte and more": ({"data": '{"email": "' + "x" * 1_000_000 + '"}'}, OF_SOME),
    "no time": ({"time": "yesterday"}, f"{OF_SOME}: Invalid isoformat"),
    "a time in the year 20000": ({"time": "20000-01-01 00:00:00.000000"}, OF_SOME),
    "no id": ({"causation_id": "7"}, f"{OF_SOME}: Invalid UUID - at `$.causation_id`"),
    "no number": ({"depth": "deep"}, f"{OF_SOME}: Expected `int`"),
    "an upcaster with a bug": ({"schema_version": 1, "data": '{"title": null}'}, OF_THIS),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
async def test_an_event_that_cannot_be_read_is_parked_alone(
    world: SqlWorld, broken: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither dropped nor tried for ever, in nobody's way, and the error says what is wrong.

    It would be the longest due in every later claim, and stop every worker for ever.
    """

    def with_a_bug(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "name": old["title"].strip().title(1)}

    monkeypatch.setitem(UPCASTERS, ("thing_made", 1), with_a_bug)
    (first, *_), good = await commit_an_event(world), await commit_an_event(world)
    await world.move_clock(world.policy.lease_seconds + 1)
    async with world.database.write_transaction() as transaction:
        for column, damaged in broken.items():
            statement = (
                f"UPDATE aftercommit_events SET {column} = CAST(:damaged AS TEXT) WHERE id = :id"
            )
            values = {"damaged": damaged, "id": first.envelope.id.hex}
            await transaction.execute(text(statement), values)
        await transaction.commit()

    claims = await world.outbox().claim(100, HANDLER_NAMES)

    assert {claim.envelope.id for claim in claims} == {good[0].envelope.id}
    rows = await world.deliveries()
    bad = [row for (event_id, _), row in rows.items() if event_id == first.envelope.id]
    assert [(row.parked_at is None, row.attempts) for row in bad] == [(False, 1)] * len(good)
    assert {str(row.last_error)[: len(reason)] for row in bad} == {reason}


@contextmanager
def refusing(database: Database, number: int) -> Iterator[list[str]]:
    """Let the database be away when this statement comes, counted from 0; collect all that come."""
    engine, asked = database.engine.sync_engine, list[str]()

    def refuse(_: object, __: object, sql: str, *more: object) -> None:
        asked.append(sql)
        if len(asked) == number + 1:
            raise DatabaseUnavailable("it has gone away")

    event.listen(engine, "before_cursor_execute", refuse)
    yield asked
    event.remove(engine, "before_cursor_execute", refuse)


async def test_an_outage_in_the_middle_of_a_claim_uses_up_no_attempt(database_url: str) -> None:
    """No handler has run: a few such claims would park what nobody has ever tried.

    Whichever statement finds the database away; also if something in the claim has to be parked.
    """
    async with sql_world(database_url) as world:
        for number in count():
            (good, *others), bad = await commit_an_event(world), await commit_an_event(world)
            exhausted = await commit_an_event(world)
            async with world.database.write_transaction() as transaction:
                of = tables.deliveries.c.event_id
                await transaction.execute(
                    update(tables.events)
                    .where(tables.events.c.id == bad[0].envelope.id)
                    .values(data="{]")
                )
                await transaction.execute(
                    update(tables.deliveries)
                    .where(of == exhausted[0].envelope.id)
                    .values(attempts=world.policy.max_attempts)
                )
                await transaction.commit()
            await world.move_clock(world.policy.lease_seconds + 1)
            before, outbox = await world.deliveries(), new_outbox(world.database, world.policy)

            with refusing(world.database, number) as asked:
                try:
                    claims = await outbox.claim(100, HANDLER_NAMES)
                except DatabaseUnavailable:
                    assert await world.deliveries() == before
                    claims = await world.outbox().claim(100, HANDLER_NAMES)

            assert {claim.envelope.id for claim in claims} == {good.envelope.id}
            assert [claim.attempt for claim in claims] == [2] * (1 + len(others))
            if len(asked) <= number:
                break
            async with world.database.write_transaction() as transaction:
                await transaction.execute(delete(tables.deliveries))
                await transaction.commit()


async def test_an_event_over_a_megabyte_is_refused_by_the_commit(world: SqlWorld) -> None:
    """Each worker, consumer and page would have to read it, again and again."""
    with pytest.raises(InvalidPayload, match="there may be 1000000"):
        async with a_uow(world) as uow:
            thing = a_thing()
            thing.record(ThingRenamed(thing_id=thing.id, name="x" * 1_000_000))
            things_of(uow).add(thing)

    assert await world.things() == []


EXPLAIN = {
    "sqlite": "EXPLAIN QUERY PLAN",
    "postgresql": "EXPLAIN",
}


@pytest.mark.parametrize("replay", [False, True])
async def test_what_is_parked_or_done_does_not_slow_claiming(
    database_url: str, replay: bool
) -> None:
    """It is in no index that a claim looks into. Otherwise each claim would read it all."""
    orm.start_mappers()
    parked, done, _ = names = HANDLERS_OF_THING_MADE
    many = [(an_envelope(), dict.fromkeys(names, 0.0)) for _ in range(3000)]
    fates = {parked: "parked_at", done: "completed_at"}
    async with open_database(database_url) as database:
        await ensure_schema(database)
        async with database.write_transaction() as transaction:
            await new_outbox(database, POLICY).store(transaction, many)
            for name, column in fates.items():
                this = tables.deliveries.c.handler == name
                await transaction.execute_dml(
                    update(tables.deliveries).where(this).values({column: 1})
                )
            await transaction.execute(text("ANALYZE"))  # or a planner would not know how many
            await transaction.commit()

        engine = database.engine.sync_engine
        with asked_of(database) as asked:
            await new_outbox(database, POLICY).claim(10, HANDLER_NAMES)
        claims = [each for each in asked if each.sql.startswith("WITH due")]
        claim = claims[replay]  # replays are looked for when nothing else is due
        async with database.engine.connect() as connection:
            explain = f"{EXPLAIN[engine.dialect.name]} {claim.sql}"
            plan = await connection.exec_driver_sql(explain, claim.values)
            steps = "\n".join(map(str, plan))
        async with database.read_transaction() as transaction:
            indexes = await transaction.run_sync(
                lambda c: inspect(c).get_indexes("aftercommit_deliveries")
            )

        (index,) = (
            index for index in indexes if index["name"] == "ix_aftercommit_deliveries_available_at"
        )
        assert index["column_names"] == ["replay", "available_at"]
        pending_only = str(index["dialect_options"][f"{engine.dialect.name}_where"])
        assert "parked_at IS NULL" in pending_only
        assert "completed_at IS NULL" in pending_only
        assert re.search(
            r"SEARCH aftercommit_deliveries USING INDEX ix_aftercommit_deliveries_available_at"
            r" \(replay=\? AND available_at<\?\)"
            r"|Index Scan using ix_aftercommit_deliveries_available_at",
            steps,
        )
        assert "TEMP B-TREE" not in steps
        assert "Sort" not in steps
        assert not re.search(r"SCAN deliveries|Seq Scan on deliveries", steps)


async def test_what_settles_together_is_one_statement_and_no_series(database_url: str) -> None:
    """A process that is frozen within a series holds its locks beyond the server's time limits."""
    async with sql_world(database_url) as world:
        claims = await commit_an_event(world)
        outbox = world.outbox()

        with asked_of(world.database, world.other_database) as asked:
            async with anyio.create_task_group() as group:
                for claim in claims:
                    group.start_soon(outbox.settle, claim)

        assert [
            each.is_series for each in asked if "UPDATE aftercommit_deliveries" in each.sql
        ] == [False]
        assert await world.deliveries() == {}


async def test_of_many_failures_the_last_ten_are_kept(database_url: str) -> None:
    """Whoever looks for a cause needs no thousand of them."""
    async with sql_world(database_url, replace(POLICY, max_attempts=100)) as world:
        await commit_an_event(world)
        await world.move_clock(world.policy.lease_seconds + 1)
        outbox = world.outbox()
        for n in range(15):
            (delivery,) = await outbox.claim(1, ["write_down"])
            await outbox.record_failure(a_failure(delivery, OSError(f"down {n}"), retry_in=0))

        (kept,) = (await world.failures()).values()
        assert kept == [(n + 2, f"OSError: down {n}") for n in range(5, 15)]


async def test_a_stranger_completes_nothing(world: SqlWorld) -> None:
    """A claim on a row that does not exist has nothing to settle, and says so."""
    with pytest.raises(DeliverySuperseded):
        await world.outbox().settle(a_delivery())
    assert await world.deliveries() == {}
    assert an_envelope().id not in await world.event_ids()
