"""An event that nobody can read: damaged by hand, or written by a program with a bug."""

from typing import Any

import pytest
from sqlalchemy import literal_column, update

from aftercommit_tests.builders import NAMES
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.things.handlers import CODEC
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

OF_THIS = "InvalidPayload: invalid payload of thing_made"
OF_SOME = "InvalidPayload: invalid payload of an event"
BROKEN = {
    "no JSON": ({"data": "'{]'"}, f"{OF_THIS}: JSON is malformed"),
    "other types": ({"data": """'{"thing_id": 7}'"""}, OF_THIS),
    "too many levels": ({"data": f"""'{'{"x":' * 100_000}'"""}, OF_THIS),
    "a megabyte and more": ({"data": f"'{'x' * 1_000_001}'"}, f"{OF_SOME}: is longer than 1000000"),
    "an upcaster with a bug": ({"schema_version": "1", "data": """'{"title": null}'"""}, OF_THIS),
}
ON_SQLITE = {
    "no UTF-8": ({"data": "CAST(x'ff' AS TEXT)"}, f"{OF_THIS}: 'utf-8' codec"),
    "no time": ({"time": "'yesterday'"}, f"{OF_SOME}: Invalid isoformat"),
    "a time in the year 20000": ({"time": "'20000-01-01 00:00:00.000000'"}, OF_SOME),
    "no id": ({"causation_id": "'7'"}, f"{OF_SOME}: Invalid UUID - at `$.causation_id`"),
    "no number": ({"depth": "'deep'"}, f"{OF_SOME}: Expected `int`"),
}


async def assert_parked_alone(world: World, change: dict[str, str], reason: str) -> None:
    """Damage one event of two, and let all that is due be claimed."""
    bad, good = [[*(await world.make_thing()).values()] for _ in range(2)]
    this = tables.events.c.id == bad[0].envelope.id
    damaged: dict[str, Any] = {column: literal_column(sql) for column, sql in change.items()}
    await world.execute(update(tables.events).where(this).values(damaged))
    await world.end_leases()

    claims = await world.delivery_store().claim(100, NAMES)

    assert {claim.envelope.id for claim in claims} == {good[0].envelope.id}
    rows = await world.deliveries()
    parked = [row for (event_id, _), row in rows.items() if event_id == bad[0].envelope.id]
    states = [(row.parked_at is not None, row.attempts, row.held) for row in parked]
    assert states == [(True, 1, False)] * len(NAMES)
    assert {str(row.last_error)[: len(reason)] for row in parked} == {reason}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
async def test_an_event_that_cannot_be_read_is_parked_alone(
    world: World,
    change: dict[str, str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is neither dropped nor tried forever, in nobody's way, and the error says what is wrong.

    It would be the longest due in every later claim, and stop every worker forever.
    """

    def with_a_bug(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "name": old["title"].strip().title(1)}

    monkeypatch.setattr(CODEC, "_upcasters", {("thing_made", 1): with_a_bug})

    await assert_parked_alone(world, change, reason)

    assert caplog.text.count("parked on event") == len(NAMES)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("change", "reason"), ON_SQLITE.values(), ids=ON_SQLITE)
async def test_what_only_sqlite_stores_is_parked_alone(
    world: World, change: dict[str, str], reason: str
) -> None:
    """It takes any value in any column; PostgreSQL refuses these when they are written."""
    await assert_parked_alone(world, change, reason)
