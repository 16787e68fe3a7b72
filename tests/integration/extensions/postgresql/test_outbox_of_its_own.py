"""What claims and settles on PostgreSQL, beside the promises that all outboxes share."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import psycopg
import pytest
from aftercommit.claims import Claim
from aftercommit.extensions.postgresql import autocommit, timeouts
from aftercommit.extensions.postgresql.outbox import AsyncpgOutbox
from aftercommit.sql.exceptions import ConnectionLost, DatabaseUnavailable
from aftercommit.sql.outbox import SqlAlchemyOutbox, new_outbox
from anyio.lowlevel import checkpoint

from tests.asked import asked_of
from tests.builders import HANDLER_NAMES, POLICY, open_database
from tests.integration.extensions.postgresql.test_postgres import end_connections
from tests.integration.test_outbox_contract import let_leases_end
from tests.proxy import Proxy, postgres_behind_a_proxy
from tests.things import HANDLERS_OF_THING_MADE, a_thing, things_of
from tests.worlds import SqlWorld, a_uow, on, sql_world

pytestmark = pytest.mark.anyio

ENOUGH_SECONDS = 60  # for noisy machines


@pytest.fixture
async def world(postgres_url: str) -> AsyncIterator[SqlWorld]:
    async with sql_world(postgres_url) as world:
        yield world


async def committed(world: SqlWorld) -> tuple[Claim, ...]:
    async with (scope := a_uow(world)) as uow:
        things_of(uow).add(a_thing())
    return scope.committed.claims


UNREADABLE = {
    "a time in the year 20000": ("time = '20000-01-01'", "invalid payload of an event"),
    "a time before Christ": ("time = '0044-03-15 BC'", "invalid payload of an event"),
    "a time that never comes": ("time = 'infinity'", "invalid payload of an event"),
    "a megabyte and more": ("data = repeat('x', 1000001)", "is longer than 1000000"),
    "no data of its type": ("data = '{]'", "JSON is malformed"),
}


@pytest.mark.parametrize(("change", "reason"), UNREADABLE.values(), ids=UNREADABLE)
async def test_an_event_that_cannot_be_read_does_not_take_the_others_with_it(
    world: SqlWorld, postgres_url: str, change: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All leases of the batch would be taken, and nothing handled: again when they have ended."""
    bad, good = await committed(world), await committed(world)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            f"UPDATE aftercommit_events SET {change} WHERE id = %s", [bad[0].envelope.id]
        )
    await let_leases_end(world)

    claims = await world.outbox().claim(100, HANDLER_NAMES)

    assert {claim.envelope.id for claim in claims} == {good[0].envelope.id}
    rows = await world.deliveries()
    parked = [row for row in rows.values() if row.parked_at is not None]
    assert [(row.attempts, row.held) for row in parked] == [(1, False)] * len(bad)
    assert all(reason in str(row.last_error) for row in parked)
    assert caplog.text.count(f"parked on event {bad[0].envelope.id}: InvalidPayload") == len(bad)


async def test_a_claim_reads_times_in_whatever_style_the_server_writes_them(
    postgres_url: str,
) -> None:
    """Every event would count as one that nobody can read, and be parked."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET DateStyle = 'German'")
    async with sql_world(postgres_url) as world:
        first = await committed(world)
        await let_leases_end(world)

        claims = await world.outbox().claim(100, HANDLER_NAMES)

    assert {claim.envelope.time for claim in claims} == {first[0].envelope.time}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_on_asyncpg_a_claim_and_a_settlement_are_one_statement_each(
    world: SqlWorld, postgres_url: str
) -> None:
    """With the event, the lost lease and what is parked; another driver has the portable outbox."""
    settled, *_ = await committed(world)
    outbox = world.outbox()
    await let_leases_end(world)

    with asked_of(world.database, world.other_database) as asked:
        claims = {claim.handler: claim for claim in await outbox.claim(10, HANDLER_NAMES)}
        await outbox.settle(claims[settled.handler])

    assert [each.sql.split()[0] for each in asked] == ["WITH", "UPDATE"]
    assert len(await world.failures()) == len(claims) == len(HANDLERS_OF_THING_MADE)
    assert isinstance(outbox, AsyncpgOutbox)
    async with open_database(on("anyio", postgres_url)) as database:
        assert type(new_outbox(database, POLICY)) is SqlAlchemyOutbox


async def test_a_connection_that_was_kept_and_lost_is_not_used_again(
    world: SqlWorld, postgres_url: str
) -> None:
    """A server that restarts costs what is under way, and nothing after it."""
    one, other, *_ = await committed(world)
    outbox = world.outbox()
    await outbox.settle(one)
    end_connections(postgres_url)
    await checkpoint()  # the event loop sees it

    await outbox.settle(other)

    assert len(await world.finished()) == 2


async def test_a_row_that_somebody_has_locked_is_waited_for_as_long_as_for_any_other(
    postgres_url: str, world: SqlWorld
) -> None:
    """The limits of a session count for a statement without a transaction, too."""
    one, *_ = await committed(world)
    async with open_database(postgres_url, handler_timeout=1) as database:
        outbox = new_outbox(database, POLICY)
        with psycopg.connect(postgres_url) as person:
            person.execute("SELECT * FROM aftercommit_deliveries FOR UPDATE")
            with anyio.fail_after(ENOUGH_SECONDS):
                with pytest.raises(DatabaseUnavailable, match="somebody else holds a lock"):
                    await outbox.settle(one)

        await outbox.settle(one)

    assert len(await world.finished()) == 1


@pytest.fixture
def proxied(
    postgres_url: str, free_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Proxy]]:
    """The database behind a proxy; a call of the driver may take two seconds."""
    monkeypatch.setattr(timeouts, "RESPONSE_SECONDS", 1.0)
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port) as proxied:
        yield proxied


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


async def test_a_statement_that_is_never_answered_is_a_lost_connection(
    world: SqlWorld, proxied: tuple[str, Proxy]
) -> None:
    """The connection is given up, and the next statement has another one."""
    one, other, *_ = await committed(world)
    async with cut_off_after(one, proxied) as outbox:
        with pytest.raises(ConnectionLost, match="no answer within 2 s"):
            await outbox.settle(other)
        proxied[1].open()

        await outbox.settle(other)

    assert len(await world.finished()) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("word", [b"BEGIN", b"ROLLBACK", b"UPDATE aftercommit_deliveries"])
async def test_a_server_that_falls_silent_is_given_up_whatever_it_was_asked(
    world: SqlWorld, proxied: tuple[str, Proxy], word: bytes
) -> None:
    """A new connection is tried by BEGIN and ROLLBACK, and then used."""
    url, proxy = proxied
    one, *_ = await committed(world)
    with anyio.fail_after(ENOUGH_SECONDS):
        async with open_database(url, handler_timeout=1) as database:
            outbox = new_outbox(database, POLICY)
            async with database.read_transaction():  # there is a connection in the pool
                pass
            proxy.freezes_at = word
            with pytest.raises(DatabaseUnavailable):
                await outbox.settle(one)
            assert proxy.asked_in_vain.is_set()
            proxy.freezes_at = None
            proxy.open()

            await outbox.settle(one)

    assert len(await world.finished()) == 1


async def test_a_connection_that_died_while_it_was_idle_is_no_error(
    world: SqlWorld, proxied: tuple[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried before it is used: an e-mail that counts as unsent would go out again."""
    monkeypatch.setattr(autocommit, "KEPT_SECONDS", 0)  # or idle for longer
    one, other, *_ = await committed(world)
    async with cut_off_after(one, proxied) as outbox:
        proxied[1].open()

        await outbox.settle(other)

    assert len(await world.finished()) == 2
