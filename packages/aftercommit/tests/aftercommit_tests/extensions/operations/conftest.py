"""What is stored for this extension to work on, and what operators see of it."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime

import pytest

from aftercommit_tests.inside.claims import Claim
from aftercommit_tests.inside.operations import (
    Delivery,
    Which,
    batched_transactions,
    listed_deliveries,
)
from aftercommit_tests.world import START, World, open_world

Claims = dict[str, Claim]


async def make_things(world: World, number: int) -> list[Claims]:
    """Commit things; return what their process has claimed of each, by handler."""
    return [await world.make_thing() for _ in range(number)]


async def complete(world: World, *made: Mapping[str, Claim]) -> None:
    """Let the handlers have done their work."""
    for claims in made:
        for claim in claims.values():
            await world.delivery_store().complete(claim)


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
    monkeypatch.setattr(batched_transactions, "BATCH_ROWS", 2)
