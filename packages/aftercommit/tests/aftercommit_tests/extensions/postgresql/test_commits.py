"""One statement of asyncpg writes what a commit has caused: the same as several do elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from aftercommit import new_delivery_store
from sqlalchemy.exc import IntegrityError

from aftercommit_tests.asked import counting
from aftercommit_tests.builders import a_command_work, some_deliveries
from aftercommit_tests.inside.claims import Claim, SqlAlchemyDeliveryStore
from aftercommit_tests.inside.errors import StatementRefused
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg")]

SECRET = "hunter2"
TABLES = tables.commands, tables.events, tables.deliveries

BOTH_WAYS = pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in several"])


def store_of(world: World, *, at_once: bool) -> SqlAlchemyDeliveryStore:
    """Return a store that writes in one of the two ways."""
    world.database.backend.writes_at_once = at_once
    return new_delivery_store(world.database, world.policy)


def a_row(row: sa.Row[Any]) -> dict[str, Any]:
    """Return all columns but the one that a sequence fills in."""
    return {name: value for name, value in row._mapping.items() if name != "position"}


@pytest.mark.parametrize("dispatch", ["inline", "worker"])
async def test_both_ways_write_the_same(
    world: World, dispatch: Literal["inline", "worker"]
) -> None:
    """In each column: what claims, prunes and shows it does not know which way it was written."""
    world.policy = replace(world.policy, dispatch=dispatch)
    [claim, *_] = (await world.make_thing()).values() if dispatch == "inline" else [None]
    await world.pause("polish")
    work = replace(a_command_work(), completes=claim)
    envelopes, new = some_deliveries("announce", "polish", "later", of_events=2)
    new = [each._replace(delay=60.5) if each.handler == "later" else each for each in new]

    async def written(*, at_once: bool) -> tuple[Sequence[Claim], list[dict[str, Any]]]:
        """Write it in a transaction of which nothing stays; return the claims, and all rows."""
        store, rows = store_of(world, at_once=at_once), list[dict[str, Any]]()
        async with world.database.write_transaction() as transaction:
            with counting(world.database) as asked:
                claims = await store.store(
                    transaction, envelopes, new, completes=claim, command=work
                )
            for table in TABLES:
                found = await transaction.execute(sa.select(table).order_by(*table.primary_key))
                rows += map(a_row, found)
        assert (len(asked) == 1) is at_once
        return [replace(each, leased_at=0.0) for each in claims], rows

    expected = await written(at_once=False)
    assert await written(at_once=True) == expected
    handlers = {each.handler for each in expected[0]}
    assert handlers == ({"announce"} if dispatch == "inline" else set())
    assert len(expected[1]) >= 1 + 2 + 6


@BOTH_WAYS
async def test_what_is_refused_says_nothing_of_the_values(world: World, at_once: bool) -> None:
    """Errors are logged, and stored with deliveries; and a repetition does not help."""
    store = store_of(world, at_once=at_once)
    [envelope], new = some_deliveries("announce")

    for subject, expected in ((f"{SECRET}\0", StatementRefused), (SECRET, IntegrityError)):
        stored = replace(envelope, subject=subject)
        with pytest.raises(expected) as refused:
            async with world.database.write_transaction() as transaction:
                await store.store(transaction, [stored], new)
                await store.store(transaction, [stored], new)

        error: BaseException | None = refused.value
        while error:
            assert SECRET not in f"{error} {error.args}"
            error = error.__cause__ or error.__context__


@BOTH_WAYS
async def test_what_cannot_be_sent_is_a_mistake_of_ours(world: World, at_once: bool) -> None:
    """The driver notices it, and not the server."""
    store = store_of(world, at_once=at_once)
    [envelope], new = some_deliveries("announce")

    with pytest.raises(StatementRefused):
        async with world.database.write_transaction() as transaction:
            await store.store(transaction, [replace(envelope, subject="\ud800")], new)
