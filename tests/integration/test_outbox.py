"""What only a real outbox can show: rows nobody can read, and many of them."""

import time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text, update

from allocation.adapters import orm
from allocation.adapters.exceptions import StatementRefused
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.service_layer.delivery import Delivery
from tests.builders import HANDLER_NAMES, a_delivery, a_failure, a_user, an_envelope
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


PARK_MANY = """
INSERT INTO deliveries (event_id, handler, attempts, token, due_at, parked_at)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
SELECT events.id, 'handler' || n.i, 3, 3, 0, 1 FROM n, events
"""


async def claim_seconds(world: SqlWorld) -> float:
    """Return how long the fastest of some claims takes."""
    outbox = world.outbox()
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        assert len(await outbox.claim(10, HANDLER_NAMES)) == 4
        seconds.append(time.perf_counter() - started)
        await world.move_clock(world.policy.lease + 1)
    return min(seconds)


async def test_many_parked_rows_do_not_slow_claiming(tmp_path: Path) -> None:
    """The index holds only what is pending. Without it, the factor is fifteen."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        await commit_an_event(world)
        await world.move_clock(world.policy.lease + 1)
        before = await claim_seconds(world)
        async with world.database.writing() as session:
            await session.execute(text(PARK_MANY))
            await session.commit()

        after = await claim_seconds(world)

        assert after < 4 * before


async def test_claims_find_due_rows_through_the_partial_index(tmp_path: Path) -> None:
    """Without it, claiming falls to a twentieth of its speed in a long history."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        claim = SqlAlchemyOutbox(world.database, world.policy)._take_lease(10, HANDLER_NAMES)
        engine = world.database.engine.sync_engine
        compiled = claim.compile(engine, compile_kwargs={"literal_binds": True})
        async with world.database.reading() as session:
            plan = await session.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
            assert "ix_deliveries_due_at" in " ".join(row.detail for row in plan)


async def test_a_stranger_completes_nothing(tmp_path: Path) -> None:
    """A claim on a row that does not exist is no error: somebody else has settled it."""
    async with sql_world(sqlite_url(tmp_path)) as world:
        stranger: Delivery = a_delivery()
        await world.outbox().settle(stranger)
        assert await world.deliveries() == {}
        assert an_envelope().id not in await world.event_ids()
