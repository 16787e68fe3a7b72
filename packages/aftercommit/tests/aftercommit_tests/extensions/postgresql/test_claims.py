"""What claims and settles on PostgreSQL, beside the promises that all outboxes share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest
from aftercommit.claims import Claim
from aftercommit.extensions.postgresql import autocommit
from aftercommit.extensions.postgresql.outbox import AsyncpgOutbox
from aftercommit.sql import tables
from aftercommit.sql.exceptions import ConnectionLost, DatabaseUnavailable
from aftercommit.sql.outbox import SqlAlchemyOutbox, new_outbox
from anyio.lowlevel import checkpoint
from sqlalchemy import false, make_url, select, text

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import NAMES, POLICY, an_envelope, on
from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change,
    change_from_outside,
    end_connections,
    value,
)
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.test_unreadable_events_contract import OF_SOME, assert_parked_alone
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.handlers import CODEC
from aftercommit_tests.world import World, open_world

pytestmark = pytest.mark.anyio

UNREADABLE = {
    "a time in the year 20000": "'20000-01-01'",
    "a time before Christ": "'0044-03-15 BC'",
    "a time that never comes": "'infinity'",
}


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

        claims = await world.outbox().claim(100, NAMES)

        assert {claim.envelope.time for claim in claims} == {first[0].envelope.time}
        [row] = await world.rows(*tables.events.c)
        assert CODEC.from_row(row._asdict()).time == first[0].envelope.time


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_asyncpg_a_claim_and_a_settlement_are_one_statement_each(
    postgres_url: str,
) -> None:
    """With the event, the lost lease and what is parked; another driver has the portable outbox."""
    async with open_world(postgres_url) as world:
        await world.make_thing()
        outbox = world.outbox()
        await world.end_leases()

        with asked_of(world.database, world.other_database) as asked:
            claims = await outbox.claim(10, NAMES)
            await outbox.settle(claims[0])

        assert [each.sql.split()[0] for each in asked] == ["WITH", "UPDATE"]
        assert len(await world.failures()) == len(claims) == len(NAMES)
        assert isinstance(outbox, AsyncpgOutbox)
    async with open_database(on("anyio", postgres_url)) as database:
        assert type(new_outbox(database, POLICY)) is SqlAlchemyOutbox


async def test_the_clock_lets_what_is_due_be_found_through_the_index(url: str) -> None:
    """A clock that may change within a statement does not: then every row is looked at."""
    owed = tables.deliveries.c
    async with open_database(url) as database:
        async with database.write_transaction() as transaction:
            await new_outbox(database, POLICY).store(transaction, [(an_envelope(), {})])
            await transaction.commit()
        await change(
            database,
            "INSERT INTO aftercommit_deliveries (event_id, handler, attempts, token, available_at)"
            " SELECT id, n::text, 0, 1, 1e10 + n"
            " FROM aftercommit_events, generate_series(1, 5000) AS n",
            "ANALYZE aftercommit_deliveries",
        )
        pending = tables.PENDING, owed.replay == false()
        due = select(owed.handler).where(*pending, owed.available_at <= database.clock)
        query = due.order_by(owed.available_at).limit(20)
        sql = query.compile(database.engine.sync_engine, compile_kwargs={"literal_binds": True})

        async with database.read_transaction() as transaction:
            plan = (await transaction.execute(text(f"EXPLAIN {sql}"))).scalars().all()

    assert any("Index Cond" in line and "available_at" in line for line in plan), plan


async def test_a_connection_that_was_kept_and_lost_is_not_used_again(
    world: World, postgres_url: str
) -> None:
    """A server that restarts costs what is under way, and nothing after it."""
    one, other, _ = (await world.make_thing()).values()
    outbox = world.outbox()
    await outbox.settle(one)
    end_connections(postgres_url)
    await checkpoint()  # the event loop sees it

    await outbox.settle(other)

    assert len(await world.finished()) == 2


async def test_a_row_that_somebody_has_locked_is_waited_for_as_long_as_for_any_other(
    url: str, postgres_url: str, world: World
) -> None:
    """The limits of a session count for a statement without a transaction, too."""
    one, *_ = (await world.make_thing()).values()
    async with open_database(url, handler_timeout=1) as database:
        outbox = new_outbox(database, POLICY)
        with psycopg.connect(postgres_url) as person:
            person.execute("SELECT * FROM aftercommit_deliveries FOR UPDATE")
            with (
                anyio.fail_after(ENOUGH_SECONDS),
                pytest.raises(DatabaseUnavailable, match="somebody else holds a lock"),
            ):
                await outbox.settle(one)

        await outbox.settle(one)

    assert len(await world.finished()) == 1


@asynccontextmanager
async def cut_off_after(one: Claim, proxied: tuple[str, Proxy]) -> AsyncIterator[SqlAlchemyOutbox]:
    """An outbox that has settled a delivery, and whose database is frozen since then."""
    url, proxy = proxied
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=1) as database:
            outbox = new_outbox(database, POLICY)
            await outbox.settle(one)
            proxy.freeze()
            yield outbox


async def test_a_settlement_that_is_never_answered_is_a_lost_connection(
    world: World, proxied: tuple[str, Proxy]
) -> None:
    """The connection is given up, and the next statement has another one."""
    one, other, _ = (await world.make_thing()).values()
    async with cut_off_after(one, proxied) as outbox:
        with pytest.raises(ConnectionLost, match="no answer within 2 s"):
            await outbox.settle(other)
        proxied[1].open()

        await outbox.settle(other)

    assert len(await world.finished()) == 2


async def test_a_connection_that_died_while_it_was_idle_is_no_error(
    world: World, proxied: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried before it is used: an e-mail that counts as unsent would go out again."""
    monkeypatch.setattr(autocommit, "KEPT_SECONDS", 0)  # or idle for longer
    one, other, _ = (await world.make_thing()).values()
    async with cut_off_after(one, proxied) as outbox:
        proxied[1].open()

        await outbox.settle(other)

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
            outbox = new_outbox(database, POLICY)
            await value(database)  # there is a connection in the pool
            proxy.freezes_at = word
            with pytest.raises(DatabaseUnavailable):
                await outbox.settle(one)
            assert proxy.asked_in_vain.is_set()
            proxy.freezes_at = None
            proxy.open()

            await outbox.settle(one)

    assert len(await world.finished()) == 1
