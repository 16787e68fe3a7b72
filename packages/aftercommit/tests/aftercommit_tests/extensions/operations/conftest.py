"""What is stored for this extension to work on, and what operators see of it."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

import pytest
from aftercommit.claims import Claim
from aftercommit.extensions.operations.delivery_admin import Delivery, Which, listed_deliveries

from aftercommit_tests.builders import a_thing
from aftercommit_tests.world import START, World, open_world

Claims = dict[str, Claim]


async def make_thing(world: World, name: str | None = None) -> Claims:
    """Commit a new thing; return what its process has claimed, by handler."""
    thing = a_thing(name or f"thing {len(await world.event_ids())}")
    async with (unit := world.a_uow()) as uow:
        uow.things.add(thing)
    return {claim.handler: claim for claim in unit.committed.claims}


async def make_things(world: World, number: int) -> list[Claims]:
    return [await make_thing(world) for _ in range(number)]


async def settle(world: World, *made: Mapping[str, Claim]) -> None:
    """Let the handlers have done their work."""
    for claims in made:
        for claim in claims.values():
            await world.outbox().settle(claim)


async def let_leases_end(world: World) -> None:
    await world.move_clock(world.policy.lease_seconds + 1)


async def listed(world: World, which: Which = "outstanding") -> dict[str, Delivery]:
    """Return the deliveries that an operator sees, by handler."""
    async with world.database.read_transaction() as transaction:
        found = listed_deliveries(transaction, world.database, which)
        return {row.handler: row async for row in found}


def seconds_since_start(time: datetime | None) -> float:
    """Return how long after the start of a world this is."""
    assert time
    return time.timestamp() - START


@pytest.fixture
async def postgres_world(postgres_url: str) -> AsyncIterator[World]:
    """A world where transactions wait for each other by row."""
    async with open_world(postgres_url) as world:
        yield world


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows in each."""
    monkeypatch.setattr("aftercommit.extensions.operations.batched_transactions.BATCH_ROWS", 2)
