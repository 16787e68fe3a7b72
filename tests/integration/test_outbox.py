"""What only a real outbox can show: rows nobody can read, and many of them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from sqlalchemy import event, inspect, text, update

from allocation.adapters import orm
from allocation.adapters.database import open_database
from allocation.adapters.exceptions import StatementRefused
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.schema import ensure_schema
from allocation.service_layer.delivery import Delivery
from tests.builders import HANDLER_NAMES, POLICY, a_delivery, a_failure, a_user, an_envelope
from tests.worlds import SqlWorld, a_uow, sql_world, sqlite_url

pytestmark = pytest.mark.anyio


async def commit_an_event(world: SqlWorld) -> None:
    async with (uow := a_uow(world)):
        uow.users.add(a_user(email=f"{uuid4()}@example.com"))
        await uow.commit()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": "{]"}, "InvalidPayload: invalid payload of user_registered: JSON is malformed"),
        ({"data": '{"user_id": 7}'}, "InvalidPayload: invalid payload of user_registered"),
        ({"data": '{"x":' * 100_000}, "InvalidPayload: invalid payload of user_registered"),
        ({"time": "yesterday"}, "InvalidPayload: invalid payload of an event: Invalid isoformat"),
        ({"causation_id": "7"}, "InvalidPayload: invalid payload of an event: badly formed"),
        ({"data": b"\xff"}, "InvalidPayload: invalid payload of an event: the database refuses"),
    ],
)
async def test_an_event_nobody_can_read_is_parked_and_in_nobodys_way(
    tmp_path: Path, change: dict[str, str | bytes], reason: str
) -> None:
    """It is neither dropped nor tried for ever, and the error says what is wrong."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        await commit_an_event(world)
        async with world.database.writing() as session:
            for column, damaged in change.items():
                statement = f"UPDATE events SET {column} = CAST(:damaged AS TEXT)"
                await session.execute(text(statement), {"damaged": damaged})
            await session.commit()
        await commit_an_event(world)
        await world.move_clock(world.policy.lease + 1)

        claims = await world.outbox().claim(10, HANDLER_NAMES)

        assert len(claims) == 4
        parked = [row for row in (await world.deliveries()).values() if row.parked_at is not None]
        assert len(parked) == 4
        for row in parked:
            assert str(row.last_error).startswith(reason)


@pytest.mark.parametrize("change", [{"type": "user_vanished"}, {"schema_version": 99}])
async def test_what_only_a_newer_process_can_read_is_left_to_it(
    tmp_path: Path, change: dict[str, str | int]
) -> None:
    """While old and new run side by side, the old ones give nothing up that the new ones can do."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        await commit_an_event(world)
        async with world.database.writing() as session:
            await session.execute(update(orm.events).values(**change))
            await session.commit()
        before = await world.deliveries()
        await world.move_clock(world.policy.lease + 1)
        outbox = world.outbox()

        assert await outbox.claim(10, HANDLER_NAMES) == []

        assert await outbox.seconds_until_due(HANDLER_NAMES) is None
        assert {key: row.attempts for key, row in (await world.deliveries()).items()} == {
            key: row.attempts for key, row in before.items()
        }


async def test_an_error_that_cannot_be_stored_keeps_its_cause(tmp_path: Path) -> None:
    """Whoever looks at a parked delivery must see why, whatever a library puts into its text."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        await commit_an_event(world)
        await world.move_clock(world.policy.lease + 1)
        delivery, *_ = await world.outbox().claim(10, HANDLER_NAMES)

        failure = a_failure(delivery, ValueError("half a \ud83d and a \0"))
        await world.outbox().record_failure(failure)

        row = (await world.deliveries())[delivery.envelope.id, delivery.handler]
        assert row.last_error == "ValueError: half a \\ud83d and a \\0"


async def test_completions_are_not_forgotten_when_the_database_is_away(tmp_path: Path) -> None:
    """The work is done: the next completion settles it, so it is not done again."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            await uow.commit()
        first, second, *_ = world.policy.first_attempts(
            uow.events[0], ["send_welcome_email", "refresh_user_view"]
        )
        outbox = world.outbox()
        async with world.database.writing() as session:
            await session.execute(text("ALTER TABLE deliveries RENAME TO away"))
            await session.commit()
        with pytest.raises(StatementRefused):
            await outbox.settle(first)
        async with world.database.writing() as session:
            await session.execute(text("ALTER TABLE away RENAME TO deliveries"))
            await session.commit()

        await outbox.settle(second)

        owed = {handler for _, handler in await world.deliveries()}
        assert owed == {"log_registration", "allocate_welcome_coupon"}


EXPLAIN = {
    "sqlite": "EXPLAIN QUERY PLAN",
    "postgresql": "EXPLAIN",  # room: postgresql
}


@pytest.mark.parametrize("replay", [False, True])
async def test_what_is_parked_or_done_does_not_slow_claiming(
    database_url: str, replay: bool
) -> None:
    """It is in no index that a claim looks into. Otherwise each claim would read it all."""
    orm.start_mappers()
    parked, done, _ = names = ("send_welcome_email", "log_registration", "refresh_user_view")
    many = [(an_envelope(), names) for _ in range(3000)]
    fates = {parked: "parked_at", done: "finished_at"}
    async with open_database(database_url) as database:
        await ensure_schema(database)
        async with database.writing() as session:
            await SqlAlchemyOutbox(database, POLICY).store(session, many)
            for name, column in fates.items():
                this = orm.deliveries.c.handler == name
                await session.write(update(orm.deliveries).where(this).values({column: 1}))
            await session.execute(text("ANALYZE"))  # or a planner would not know how many
            await session.commit()

        asked: list[tuple[str, Any]] = []
        engine = database.engine.sync_engine
        event.listen(
            engine, "before_cursor_execute", lambda *args: asked.append((args[2], args[3]))
        )
        await SqlAlchemyOutbox(database, POLICY).claim(10, HANDLER_NAMES)
        claims = [claim for claim in asked if claim[0].startswith("WITH due")]
        sql, values = claims[replay]  # replays are looked for when nothing else is due
        async with database.engine.connect() as connection:
            plan = await connection.exec_driver_sql(f"{EXPLAIN[engine.dialect.name]} {sql}", values)
            steps = "\n".join(map(str, plan))
        async with database.reading() as session:
            indexes = await session.run_sync(lambda c: inspect(c).get_indexes("deliveries"))

        (index,) = (index for index in indexes if index["name"] == "ix_deliveries_due_at")
        assert index["column_names"] == ["replay", "due_at"]
        pending_only = str(index["dialect_options"][f"{engine.dialect.name}_where"])
        assert "parked_at IS NULL" in pending_only
        assert "finished_at IS NULL" in pending_only
        assert re.search(
            r"SEARCH deliveries USING INDEX ix_deliveries_due_at \(replay=\? AND due_at<\?\)"
            r"|Index Scan using ix_deliveries_due_at",
            steps,
        )
        assert "TEMP B-TREE" not in steps
        assert "Sort" not in steps
        assert not re.search(r"SCAN deliveries|Seq Scan on deliveries", steps)


async def test_what_settles_together_is_one_statement_and_no_series(database_url: str) -> None:
    """A process that is frozen within a series holds its locks beyond the server's time limits."""
    async with sql_world(database_url) as world:
        async with (uow := a_uow(world)):
            uow.users.add(a_user())
            await uow.commit()
        claims = world.policy.first_attempts(uow.events[0], HANDLER_NAMES)
        outbox, asked = world.outbox(), list[tuple[str, bool]]()
        for database in (world.database, world.other_database):
            event.listen(
                database.engine.sync_engine,
                "before_cursor_execute",
                lambda *args: asked.append((args[2], args[5])),
            )

        async with anyio.create_task_group() as group:
            for claim in claims:
                group.start_soon(outbox.settle, claim)

        updates = [is_series for statement, is_series in asked if "UPDATE deliveries" in statement]
        assert updates == [False]
        assert await world.deliveries() == {}


async def test_of_many_failures_the_last_ten_are_kept(database_url: str) -> None:
    """Whoever looks for a cause needs no thousand of them."""
    async with sql_world(database_url, replace(POLICY, max_attempts=100)) as world:
        await commit_an_event(world)
        await world.move_clock(world.policy.lease + 1)
        outbox = world.outbox()
        for n in range(15):
            (delivery,) = await outbox.claim(1, ["log_registration"])
            await outbox.record_failure(a_failure(delivery, OSError(f"down {n}"), retry_in=0))

        (kept,) = (await world.failures()).values()
        assert kept == [(n + 2, f"OSError: down {n}") for n in range(5, 15)]


async def test_a_stranger_completes_nothing(tmp_path: Path) -> None:
    """A claim on a row that does not exist is no error: somebody else has settled it."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        stranger: Delivery = a_delivery()
        await world.outbox().settle(stranger)
        assert await world.deliveries() == {}
        assert an_envelope().id not in await world.event_ids()
