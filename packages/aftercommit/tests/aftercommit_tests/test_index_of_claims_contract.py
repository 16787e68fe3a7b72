"""Claims cost the same, however much history there is, and however much others have to do."""

import re

import pytest
from aftercommit import new_delivery_store
from sqlalchemy import inspect, text, update

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import NAMES, POLICY, some_deliveries
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.app import open_things_database

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}
INDEX = "ix_aftercommit_deliveries_handler"
DUE_FOR_OTHERS = f"""
INSERT INTO aftercommit_deliveries
    (event_id, handler, attempts, token, available_at, schema_version)
SELECT event_id, 'no_handler_here_' || number, 0, 1, 1, 1 FROM aftercommit_deliveries
CROSS JOIN ({" UNION ALL ".join(f"SELECT {number} AS number" for number in range(20))}) AS numbers
WHERE handler = '{NAMES[0]}'"""
COLUMNS = ["handler", "schema_version", "replay", "available_at"]


@pytest.mark.parametrize("replay", [False, True])
async def test_what_is_parked_or_done_does_not_slow_claiming(
    database_url: str, replay: bool
) -> None:
    """It is in no index that a claim looks into. Otherwise each claim would read it all.

    Nor is what is due later: a clock that may change within a statement would let all be read. Nor
    what is due for other handlers, paused ones, and newer processes, which may lie there for long.
    """
    many = some_deliveries(*NAMES, of_events=3000)
    parked, done, _ = NAMES
    async with open_things_database(database_url) as database:
        store, handler = new_delivery_store(database, POLICY), tables.deliveries.c.handler
        async with database.write_transaction() as transaction:
            await store.store(transaction, *many)
            for name, column in {parked: "parked_at", done: "completed_at"}.items():
                finished = update(tables.deliveries).where(handler == name).values({column: 1})
                await transaction.execute_dml(finished)
            await transaction.execute(text(DUE_FOR_OTHERS))
            await transaction.execute(text("ANALYZE"))  # or a planner would not know how many
            await transaction.commit()

        with asked_of(database) as asked:
            await store.claim(10, NAMES)
        claims = [each for each in asked if each.sql.startswith(("WITH due", "WITH found"))]
        claim = claims[replay]  # replays are looked for when nothing else is due
        dialect = database.engine.dialect.name
        async with database.engine.connect() as connection:
            plan = await connection.exec_driver_sql(f"{EXPLAIN[dialect]} {claim.sql}", claim.values)
            steps = "\n".join(map(str, plan))
        async with database.read_transaction() as transaction:
            indexes = await transaction.run_sync(
                lambda c: inspect(c).get_indexes("aftercommit_deliveries")
            )

    (index,) = (index for index in indexes if index["name"] == INDEX)
    assert index["column_names"] == COLUMNS
    pending_only = str(index["dialect_options"][f"{dialect}_where"])
    assert "parked_at IS NULL" in pending_only
    assert "completed_at IS NULL" in pending_only
    assert re.search(r"NOT blocked|blocked = 0", pending_only)
    assert re.search(
        rf"INDEX {INDEX} \(handler=\? AND schema_version=\? AND replay=\? AND \w+<\?\)"
        # of replays there are none, so to PostgreSQL both indexes are the same
        rf"|Index Scan using {'ix_' if replay else INDEX}.* .*\n.*Cond: .*available_at <= ",
        steps,
    )
    assert not re.search(r"TEMP B-TREE|SCAN aftercommit|Seq Scan on aftercommit_[de]", steps), steps
