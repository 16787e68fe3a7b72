"""How long the server waits for a process, and a process for others: never forever."""

from contextlib import closing
from functools import partial

import anyio
import psycopg
import pytest
from aftercommit import ConnectionLost, new_delivery_store
from sqlalchemy import text

from aftercommit_tests.builders import POLICY, a_failure
from aftercommit_tests.extensions.postgresql.server import ENOUGH_SECONDS, change, value
from aftercommit_tests.inside.errors import DeliveryLocked, StatementTimeout
from aftercommit_tests.inside.postgresql import Timeouts, server_settings
from aftercommit_tests.proxy import Proxy
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "asyncio-psycopg", "trio-anyio")]

SETTINGS = {
    "statement_timeout": "21s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "21s",
}


async def test_the_server_knows_when_to_give_a_connection_up(
    url: str, proxied: tuple[str, Proxy]
) -> None:
    """Else the locks of a process whose host has vanished are held for hours."""
    for each in (url, proxied[0]):
        async with open_database(each) as database:
            assert {name: await value(database, f"SHOW {name}") for name in SETTINGS} == SETTINGS


async def test_limits_follow_the_time_limit_of_a_handler() -> None:
    """A handler's own limit is over before the server's; what is absurd does not break."""
    two, long, short = Timeouts(2), Timeouts(10**9), Timeouts(0.001)

    assert (two.statement, two.lock, two.idle_in_transaction, two.response) == (3, 1, 3, 7)
    assert server_settings(two)["lock_timeout"] == 1000
    assert max(server_settings(long).values()) < 2**31
    assert min(server_settings(short).values()) > 0
    assert long.connect == 5


async def test_a_lock_that_somebody_else_holds_is_not_waited_for_for_ever(
    url: str, postgres_url: str, world: World
) -> None:
    """An operator has looked at a row and gone to lunch: the delivery is tried again later.

    The limits of a session count for a transaction, and for a statement without one.
    """
    claims = await world.make_thing()
    async with open_database(url, handler_timeout=1) as database:
        store = new_delivery_store(database, POLICY)
        completing = partial(store.complete, claims["announce"])
        rescheduling = partial(store.record_failure, a_failure(claims["look_at"], retry_in=1))
        with psycopg.connect(postgres_url) as person:
            person.execute("SELECT * FROM aftercommit_deliveries FOR UPDATE")
            for use in (completing, rescheduling):
                with (
                    anyio.fail_after(ENOUGH_SECONDS),
                    pytest.raises(DeliveryLocked, match="another session holds a lock"),
                ):
                    await use()
            person.rollback()

        await completing()
        await rescheduling()

    assert len(await world.finished()) == 1


async def test_a_statement_that_takes_too_long_is_ended(url: str) -> None:
    """Its handler has been given up by then; and the attempt counts, for the server is there."""
    async with open_database(url, handler_timeout=1) as database:
        with (
            pytest.raises(StatementTimeout, match="statement timeout"),
            anyio.fail_after(ENOUGH_SECONDS),
        ):
            await value(database, "SELECT pg_sleep(1000)")


async def test_a_transaction_that_lies_idle_is_ended_and_its_locks_with_it(url: str) -> None:
    """Its process is frozen, or its host has vanished; others wait for its locks."""
    async with (
        open_database(url, handler_timeout=1) as frozen,
        open_database(url) as database,
    ):
        await change(database, "CREATE TABLE t AS SELECT 1 AS id")
        with pytest.raises((ConnectionLost, StatementTimeout)):  # as the driver sees it
            async with frozen.write_transaction() as holder:
                await holder.execute(text("UPDATE t SET id = 2"))
                with anyio.fail_after(ENOUGH_SECONDS):
                    await change(database, "UPDATE t SET id = 3")
                await holder.execute(text("SELECT 1"))


async def test_a_migration_may_take_its_time(url: str) -> None:
    """Half-way through is the worst moment to end it; but it does not wait for locks forever."""
    limits = {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "1min"}
    async with open_database(url, handler_timeout=1) as database:
        async with database.write_transaction(no_timeout=True) as transaction:
            await transaction.execute(text("SELECT pg_sleep(2.2)"))
            for name, limit in limits.items():
                assert (await transaction.execute(text(f"SHOW {name}"))).scalar_one() == limit

        assert await value(database, "SHOW statement_timeout") == "2s"


async def test_a_list_may_be_read_slowly(url: str) -> None:
    """Anyone who pages through it is no frozen process."""
    async with open_database(url) as database, database.read_transaction() as transaction:
        statement = text("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert [row async for row in transaction.stream(statement)] == [("1h",)]


def frozen_within_a_statement(url: str, name: str) -> psycopg.Connection:
    """Return a connection of this name that has sent half of a statement, and locked something."""
    frozen = psycopg.connect(url, autocommit=True, application_name=name)
    frozen.pgconn.enter_pipeline_mode()
    statement = f"SELECT pg_advisory_xact_lock({frozen.info.backend_pid})"
    frozen.pgconn.send_query_params(statement.encode(), None)
    frozen.pgconn.send_flush_request()  # the server works, and then waits for the end
    frozen.pgconn.flush()
    return frozen


@pytest.mark.parametrize("stranger", ["report", "shop:worker"])
async def test_a_process_of_ours_that_is_frozen_within_a_statement_is_hung_up_on(
    url: str, postgres_url: str, soon: None, caplog: pytest.LogCaptureFixture, stranger: str
) -> None:
    """The server waits for the rest of it, with all locks, and its own time limits do not count.

    Sessions of others may look the same: a debugger, a client that sends much at once, another
    application that runs on this engine. They stay.
    """
    with (
        closing(frozen_within_a_statement(postgres_url, stranger)) as of_others,
        closing(frozen_within_a_statement(postgres_url, "things:worker")) as ours,
    ):
        pids = {ours.info.backend_pid, of_others.info.backend_pid}
        these = text(f"SELECT pid FROM pg_stat_activity WHERE pid IN {(*pids,)}")
        async with (
            open_database(url, handler_timeout=1) as database,
            database.listen(lambda: None),
        ):
            left = pids
            with anyio.fail_after(ENOUGH_SECONDS):
                while ours.info.backend_pid in left:
                    await anyio.sleep(0.1)
                    async with database.read_transaction() as transaction:
                        left = {*(await transaction.execute(these)).scalars()}
        assert left == {of_others.info.backend_pid}
    assert f"ended session {min(pids - left)}, which was frozen" in caplog.text
