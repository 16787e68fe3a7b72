"""What claims and completes on PostgreSQL, beside the promises that all outboxes share."""

from contextlib import closing

import anyio
import psycopg
import pytest
import sqlalchemy as sa
from aftercommit import ConnectionLost, new_delivery_store
from anyio.lowlevel import checkpoint
from sqlalchemy import make_url

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import NAMES, POLICY, on
from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change_from_outside,
    end_connections,
    value,
)
from aftercommit_tests.inside.claims import Claim, SqlAlchemyDeliveryStore
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.postgresql import AsyncpgDeliveryStore, single_statements
from aftercommit_tests.inside.stored import tables
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.test_unreadable_events_contract import OF_SOME, assert_parked_alone
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.handlers import CODEC
from aftercommit_tests.world import World, open_world

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg", "trio-anyio")]

UNREADABLE = {
    "a time in the year 20000": "'20000-01-01'",
    "a time before Christ": "'0044-03-15 BC'",
    "a time that never comes": "'infinity'",
}

GATED_CLOCK = """
CREATE FUNCTION gated_clock() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock_shared(1);
    RETURN (SELECT seconds FROM test_clock);
END $$"""
"""A statement that reads this clock stops there, with its snapshot, while somebody has the lock."""
WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 1"


@pytest.mark.parametrize("time", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_time_that_cannot_be_read_does_not_take_the_others_with_it(
    world: World, time: str
) -> None:
    """All leases of the batch would be taken, and nothing handled: again when they have ended."""
    await assert_parked_alone(world, {"time": time}, OF_SOME)


@pytest.mark.parametrize("setting", ["DateStyle = 'German'", "timezone = 'Europe/Moscow'"])
async def test_times_are_read_as_they_were_written_whatever_the_server_is_set_to(
    url: str, postgres_url: str, setting: str
) -> None:
    """In another style, every event would be parked; in another zone, each time was hours off."""
    name = make_url(postgres_url).database
    change_from_outside(postgres_url, f"ALTER DATABASE {name} SET {setting}")
    async with open_world(url) as world:
        first = [*(await world.make_thing()).values()]
        await world.end_leases()

        claims = await world.delivery_store().claim(100, NAMES)

        assert {claim.envelope.time for claim in claims} == {first[0].envelope.time}
        [row] = await world.rows(*tables.events.c)
        assert CODEC.from_row(row._asdict()).time == first[0].envelope.time


async def test_a_claim_leaves_out_what_others_have_claimed_since_it_began(
    world: World, postgres_url: str
) -> None:
    """It finds rows in its snapshot; they may have changed before it has locked them."""
    await world.make_thing()
    await world.end_leases()
    first = new_delivery_store(world.other_database, POLICY)
    change_from_outside(postgres_url, GATED_CLOCK)
    world.database.clock = sa.literal_column("gated_clock()", sa.Double)
    late, claims = new_delivery_store(world.database, POLICY), list[Claim]()

    async def claim() -> None:
        claims.extend(await late.claim(10, NAMES))

    with anyio.fail_after(ENOUGH_SECONDS), closing(psycopg.connect(postgres_url)) as gate, gate:
        gate.execute("SELECT pg_advisory_xact_lock(1)")
        async with anyio.create_task_group() as group:
            group.start_soon(claim)
            while not gate.execute(WAITS).fetchone():
                await checkpoint()
            taken = await first.claim(10, NAMES)
            gate.rollback()

    assert sorted(each.handler for each in taken) == NAMES
    assert claims == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_asyncpg_a_claim_and_a_completion_are_one_statement_each(
    postgres_url: str,
) -> None:
    """With the event, the lost lease and what is parked; another driver has the portable outbox."""
    async with open_world(postgres_url) as world:
        await world.make_thing()
        store = world.delivery_store()
        await world.end_leases()

        with asked_of(world.database, world.other_database) as asked:
            claims = await store.claim(10, NAMES)
            await store.complete(claims[0])

        assert [each.sql.split()[0] for each in asked] == ["WITH", "WITH"]
        assert len(await world.failures()) == len(claims) == len(NAMES)
        assert isinstance(store, AsyncpgDeliveryStore)
    async with open_database(on("anyio", postgres_url)) as database:
        assert type(new_delivery_store(database, POLICY)) is SqlAlchemyDeliveryStore


async def test_a_connection_that_was_kept_and_lost_is_not_used_again(
    world: World, postgres_url: str
) -> None:
    """A server that restarts costs what is under way, and nothing after it."""
    one, other, _ = (await world.make_thing()).values()
    store = world.delivery_store()
    await store.complete(one)
    end_connections(postgres_url)
    await checkpoint()  # the event loop sees it

    await store.complete(other)

    assert len(await world.finished()) == 2


@pytest.mark.parametrize("kept_seconds", [60, 0])
async def test_a_connection_that_died_costs_what_it_is_asked_and_nothing_if_it_was_idle(
    world: World, proxied: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch, kept_seconds: int
) -> None:
    """An idle one is tried before it is used: an e-mail that counts as unsent would go out again.

    One that was in use just now is used at once, and given up if there is no answer.
    """
    monkeypatch.setattr(single_statements, "KEPT_SECONDS", kept_seconds)
    url, proxy = proxied
    one, other, _ = (await world.make_thing()).values()
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=1) as database:
            store = new_delivery_store(database, POLICY)
            await store.complete(one)
            proxy.freeze()
            if kept_seconds:
                with pytest.raises(ConnectionLost, match="no answer within 2 s"):
                    await store.complete(other)
            proxy.open()

            await store.complete(other)

    assert len(await world.finished()) == 2


@pytest.mark.parametrize("place", [("asyncio", "asyncpg")], ids=["asyncio"])
@pytest.mark.parametrize("word", [b"BEGIN", b"ROLLBACK", b"UPDATE aftercommit_deliveries"])
async def test_a_server_that_falls_silent_is_given_up_whatever_it_was_asked(
    world: World, proxied: tuple[str, Proxy], word: bytes
) -> None:
    """A new connection is tried by BEGIN and ROLLBACK, and then used."""
    url, proxy = proxied
    one, *_ = (await world.make_thing()).values()
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=1) as database:
            store = new_delivery_store(database, POLICY)
            await value(database)  # there is a connection in the pool
            proxy.freezes_at = word
            with pytest.raises(DatabaseUnavailable):
                await store.complete(one)
            assert proxy.asked_in_vain.is_set()
            proxy.freezes_at = None
            proxy.open()

            await store.complete(one)

    assert len(await world.finished()) == 1
