"""What only PostgreSQL can show: races without a writer lock, waking up, lost connections."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from aftercommit.errors import ConcurrentUpdate, InvalidValue
from aftercommit.extensions.postgresql.backend import StatementTimeout, UnsuitableDatabase
from aftercommit.extensions.postgresql.connections import server_settings
from aftercommit.extensions.postgresql.table_locks import lock_tables
from aftercommit.extensions.postgresql.timeouts import Timeouts
from aftercommit.sql import tables
from aftercommit.sql.database import backend_for
from aftercommit.sql.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.schema import ensure_schema, upgrade_schema
from anyio.lowlevel import checkpoint
from sqlalchemy import false, make_url, select, text
from sqlalchemy.pool import AsyncAdaptedQueuePool

from allocation.adapters.orm import start_mappers
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.extension_list import EXTENSIONS
from tests.builders import (
    CODEC,
    HANDLER_NAMES,
    POLICY,
    a_batch,
    a_registration,
    a_user_registered,
    an_envelope,
    open_database,
)
from tests.integration.extensions.postgresql.listening import listening
from tests.integration.test_schema import outdate
from tests.proxy import postgres_behind_a_proxy
from tests.worlds import on, sql_world

pytestmark = pytest.mark.anyio


def end_connections(url: str) -> None:
    """Let the server drop all other connections to this database, and return when it has."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        while connection.execute(f"SELECT 1 {others}").fetchone():
            pass


async def test_a_process_may_have_six_connections_beside_its_pool(postgres_url: str) -> None:
    """As the pages count: to listen, to notify, to probe, for last writes, two claim and settle."""
    async with open_database(postgres_url, connections=7) as database:
        pool = database.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        assert pool.size() == 7 + 6


async def test_what_the_driver_calls_a_time_out_leaves_the_outcome_of_a_commit_unknown() -> None:
    """A commit asks whether the connection was lost: what has no answer may have been stored."""
    backend = backend_for("postgresql://localhost/allocation", EXTENSIONS.database_backends(), 1.0)

    assert isinstance(backend.translate(TimeoutError()), ConnectionLost)


async def test_a_dropped_connection_is_a_resource_error_and_the_next_one_works(
    postgres_url: str,
) -> None:
    """A server that restarts costs what is under way, and nothing after it."""
    async with open_database(postgres_url) as database:
        with pytest.raises(ConnectionLost):
            async with database.write_transaction() as transaction:
                end_connections(postgres_url)
                await transaction.execute(text("SELECT 1"))

        async with database.write_transaction() as transaction:
            assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1


@pytest.mark.parametrize("looks", range(4))
async def test_a_session_that_the_server_ends_between_two_statements_is_told_in_words(
    postgres_url: str, looks: int
) -> None:
    """The driver may hear of the end, or of the closed connection, before it is asked again.

    It speaks of its own state then, and a person who reads that learns nothing.
    """
    async with open_database(postgres_url) as database:
        with pytest.raises(ConnectionLost) as raised:
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                end_connections(postgres_url)
                for _ in range(looks):
                    await checkpoint()
                await transaction.execute(text("SELECT 1"))

    told = "terminating connection|connection (is|was) closed|the server has ended the session"
    assert re.search(told, str(raised.value))


async def test_a_connection_lost_while_committing_leaves_the_outcome_unknown(
    postgres_url: str,
) -> None:
    """Whether it was stored cannot be known; to claim either would be a lie."""
    async with open_database(postgres_url) as database:
        with pytest.raises(CommitOutcomeUnknown, match="not known whether anything was stored"):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                end_connections(postgres_url)
                await transaction.commit()


@contextmanager
def a_person_holding(url: str, table: str) -> Iterator[None]:
    """Lock the rows of a table by hand, without any of our settings, and leave it so."""
    with psycopg.connect(url) as connection:
        connection.execute(f"SELECT * FROM {table} FOR UPDATE")
        yield
        connection.rollback()


SETTINGS = {
    "statement_timeout": "21s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "21s",
}


@pytest.mark.parametrize("driver", ["", "anyio"])
async def test_the_server_knows_when_to_give_a_connection_up(
    postgres_url: str, driver: str, free_tcp_port: int
) -> None:
    """Else the locks of a process whose host has vanished are held for hours."""
    with postgres_behind_a_proxy(postgres_url, port=free_tcp_port) as (url, _):
        for each in (postgres_url, url):
            async with (
                open_database(on(driver, each)) as database,
                database.read_transaction() as transaction,
            ):
                for name, value in SETTINGS.items():
                    assert (await transaction.execute(text(f"SHOW {name}"))).scalar_one() == value


@pytest.mark.parametrize("driver", ["", "anyio"])
async def test_the_server_knows_the_name_of_a_process(postgres_url: str, driver: str) -> None:
    """Whoever looks for the holder of a lock in pg_stat_activity finds the process by it."""
    url, asked = on(driver, postgres_url), text("SHOW application_name")

    async with (
        open_database(url, instance_name="Ann's") as database,
        database.read_transaction() as transaction,
    ):
        name = (await transaction.execute(asked)).scalar_one()
        assert name == f"allocation:{database.process}"
        assert name.startswith("allocation:Ann's@")

    url = f"{url}{'&' if '?' in url else '?'}application_name=shop"
    async with open_database(url) as database, database.read_transaction() as transaction:
        assert (await transaction.execute(asked)).scalar_one() == "allocation:shop"


async def test_limits_follow_the_time_limit_of_a_handler() -> None:
    """A handler's own limit is over before the server's; what is absurd does not break."""
    two, long, short = Timeouts(2), Timeouts(10**9), Timeouts(0.001)

    assert (two.statement, two.lock, two.idle_in_transaction, two.response) == (3, 1, 3, 7)
    assert server_settings(two)["lock_timeout"] == 1000
    assert max(server_settings(long).values()) < 2**31
    assert min(server_settings(short).values()) > 0
    assert long.connect == 5


async def test_a_lock_that_somebody_else_holds_is_not_waited_for_for_ever(
    postgres_url: str,
) -> None:
    """A person has looked at a row and gone to lunch: the delivery is tried again later."""
    async with open_database(postgres_url, handler_timeout=1) as database:
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE t AS SELECT 1 AS id"))
            await transaction.commit()

        with (
            a_person_holding(postgres_url, "t"),
            anyio.fail_after(60),
            pytest.raises(DatabaseUnavailable, match="somebody else holds a lock"),
        ):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("UPDATE t SET id = 2"))

        async with database.write_transaction() as transaction:
            await transaction.execute(text("UPDATE t SET id = 2"))


@pytest.mark.parametrize("driver", ["", "anyio"])
async def test_a_statement_that_takes_too_long_is_ended(postgres_url: str, driver: str) -> None:
    """Its handler has been given up by then; and the attempt counts, for the server is there."""
    async with open_database(on(driver, postgres_url), handler_timeout=1) as database:
        with pytest.raises(StatementTimeout, match="statement timeout"), anyio.fail_after(60):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("SELECT pg_sleep(1000)"))


@pytest.mark.parametrize("driver", ["", "anyio"])
async def test_a_transaction_that_lies_idle_is_ended_and_its_locks_with_it(
    postgres_url: str, driver: str
) -> None:
    """Its process is frozen, or its host has vanished; others wait for its locks."""
    url = on(driver, postgres_url)
    async with (
        open_database(url, handler_timeout=1) as frozen,
        open_database(url) as database,
    ):
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE t AS SELECT 1 AS id"))
            await transaction.commit()

        with pytest.raises((ConnectionLost, StatementTimeout)):  # as the driver sees it
            async with frozen.write_transaction() as holder:
                await holder.execute(text("UPDATE t SET id = 2"))
                with anyio.fail_after(60):
                    async with database.write_transaction() as transaction:
                        await transaction.execute(text("UPDATE t SET id = 3"))
                        await transaction.commit()
                await holder.execute(text("SELECT 1"))


async def test_a_migration_may_take_its_time(postgres_url: str) -> None:
    """Half-way through is the worst moment to end it; but it does not wait for locks for ever."""
    async with open_database(postgres_url, handler_timeout=1) as database:
        async with database.write_transaction(no_timeout=True) as transaction:
            await transaction.execute(text("SELECT pg_sleep(2.2)"))
            assert (await transaction.execute(text("SHOW lock_timeout"))).scalar_one() == "30s"
            idle = text("SHOW idle_in_transaction_session_timeout")
            assert (await transaction.execute(idle)).scalar_one() == "1min"

        async with database.write_transaction() as transaction:
            assert (await transaction.execute(text("SHOW statement_timeout"))).scalar_one() == "2s"


async def test_a_list_may_be_read_slowly(postgres_url: str) -> None:
    """Whoever pages through it is no frozen process."""
    async with open_database(postgres_url) as database, database.read_transaction() as transaction:
        statement = text("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert [row async for row in transaction.stream(statement)] == [("1h",)]


@pytest.mark.parametrize("driver", ["", "anyio"])
async def test_times_are_utc_whatever_the_time_zone_of_the_server(
    postgres_url: str, driver: str
) -> None:
    """One driver returned them in the server's zone, and they were read as UTC: hours off."""
    start_mappers()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = make_url(postgres_url).database
        connection.execute(f"ALTER DATABASE {name} SET timezone = 'Europe/Moscow'")
    envelope = an_envelope(a_user_registered())
    async with open_database(on(driver, postgres_url)) as database:
        async with database.write_transaction() as transaction:
            await new_outbox(database, POLICY).store(transaction, [(envelope, {})])
            await transaction.commit()

        async with database.read_transaction() as transaction:
            row = (await transaction.execute(select(tables.events))).one()
            assert CODEC.from_row(row._asdict()).time == envelope.time
            assert row.time.utcoffset() == timedelta(0)


async def test_the_clock_lets_what_is_due_be_found_through_the_index(postgres_url: str) -> None:
    """A clock that may change within a statement does not: then every row is looked at."""
    owed = tables.deliveries.c
    async with open_database(postgres_url) as database, database.write_transaction() as transaction:
        await new_outbox(database, POLICY).store(
            transaction, [(an_envelope(a_user_registered()), {})]
        )
        await transaction.execute(
            text(
                "INSERT INTO aftercommit_deliveries"
                " (event_id, handler, attempts, token, available_at)"
                " SELECT id, n::text, 0, 1, 1e10 + n"
                " FROM aftercommit_events, generate_series(1, 5000) AS n"
            )
        )
        await transaction.execute(text("ANALYZE aftercommit_deliveries"))
        pending = tables.PENDING, owed.replay == false()
        due = select(owed.handler).where(*pending, owed.available_at <= database.clock)
        query = due.order_by(owed.available_at).limit(20)
        sql = query.compile(database.engine.sync_engine, compile_kwargs={"literal_binds": True})

        plan = await transaction.execute(text(f"EXPLAIN {sql}"))

        lines = [line for (line,) in plan]
        assert any("Index Cond" in line and "available_at" in line for line in lines), lines


async def test_a_deadlock_is_a_lost_race(postgres_url: str) -> None:
    """The server ends one of the two; trying anew is safe."""
    outcomes: list[str] = []
    both_hold_one = [anyio.Event(), anyio.Event()]

    async with open_database(postgres_url) as database:
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE t AS SELECT generate_series(0, 1) AS id"))
            await transaction.commit()

        async def lock(first: int, second: int) -> None:
            statement = text("SELECT 1 FROM t WHERE id = :id FOR UPDATE")
            try:
                async with database.write_transaction() as transaction:
                    await transaction.execute(statement, {"id": first})
                    both_hold_one[first].set()
                    await both_hold_one[second].wait()
                    await transaction.execute(statement, {"id": second})
                outcomes.append("done")
            except ConcurrentUpdate as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(lock, 0, 1)
            group.start_soon(lock, 1, 0)

    lost = "this transaction and another one waited for each other; try again"
    assert sorted(outcomes) == ["done", lost]


async def test_an_upgrade_waits_for_others_and_holds_nothing_meanwhile(
    empty_postgres_url: str,
) -> None:
    """Whoever holds one table, and goes on to another, would be in a deadlock with it."""
    blocked = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database AS this ON this.oid = database"
        " WHERE datname = current_database() AND NOT granted"
    )
    async with open_database(empty_postgres_url) as database:
        await outdate(database)
        async with database.write_transaction() as holder, anyio.create_task_group() as group:
            await holder.execute(text("SELECT 1 FROM users FOR UPDATE"))
            group.start_soon(upgrade_schema, database)
            with anyio.fail_after(60):
                while not (await holder.execute(blocked)).scalar_one():
                    await checkpoint()
            await holder.execute(text("UPDATE user_view SET name = name"))
            await holder.execute(text("UPDATE coupons SET code = code"))
            await holder.commit()

        await ensure_schema(database)


async def test_two_applications_have_a_schema_each_in_one_database(empty_postgres_url: str) -> None:
    """As the error says that the second one gets without a schema of its own."""
    async with open_database(empty_postgres_url) as database:
        await ensure_schema(database)
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE SCHEMA shop"))
            name = make_url(empty_postgres_url).database
            await transaction.execute(text(f"ALTER DATABASE {name} SET search_path = shop"))
            await transaction.commit()

    async with open_database(empty_postgres_url, application="shop", history=None) as database:
        await ensure_schema(database)
        async with database.read_transaction() as transaction:
            owners = "SELECT name FROM {}.aftercommit_application"
            for schema, owner in (("public", "allocation"), ("shop", "shop")):
                found = await transaction.execute(text(owners.format(schema)))
                assert found.scalars().all() == [owner]


async def test_tables_of_any_name_are_locked_for_an_upgrade(empty_postgres_url: str) -> None:
    """An application may call them what it likes: also by a word of SQL."""
    lock = partial(lock_tables, names=["order", "Users", "missing"])
    async with open_database(empty_postgres_url) as database:
        async with database.write_transaction() as transaction:
            for name in ("order", "Users"):
                await transaction.execute(text(f'CREATE TABLE "{name}" (x TEXT)'))
            await transaction.commit()

        async with database.write_transaction() as transaction:
            await transaction.run_sync(lock)

            locked = "SELECT relname FROM pg_locks JOIN pg_class ON oid = relation"
            found = await transaction.execute(text(f"{locked} WHERE mode = 'AccessExclusiveLock'"))
            assert {"order", "Users"} <= {*found.scalars()}


async def test_an_upgrade_gives_up_if_a_table_stays_locked(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait behind it each time it tries; and its user is told what to look for."""
    monkeypatch.setattr("aftercommit.extensions.postgresql.table_locks.TRIES", 2)
    async with open_database(empty_postgres_url) as database:
        await outdate(database)
        async with database.write_transaction() as holder:
            await holder.execute(text("SELECT 1 FROM users FOR UPDATE"))
            with pytest.raises(DatabaseUnavailable, match="somebody else holds a lock"):
                await upgrade_schema(database)


async def test_a_server_that_is_not_there_is_a_resource_error(free_tcp_port: int) -> None:
    """It may be there again in a moment."""
    url = f"postgresql://nobody:hunter2@127.0.0.1:{free_tcp_port}/allocation"
    async with open_database(url) as database:
        with pytest.raises(DatabaseUnavailable) as refusal:
            async with database.read_transaction():
                pass

    assert "hunter2" not in str(refusal.value)


async def test_a_url_without_a_database_is_refused() -> None:
    """The default of the server is a surprise."""
    with pytest.raises(InvalidValue, match="names no database"):
        async with open_database("postgresql://localhost"):
            pass


async def test_an_exhausted_pool_makes_callers_wait_in_line(
    postgres_url: str, tmp_path: Path
) -> None:
    """They neither fail nor deadlock, and whoever is cancelled leaves the line."""
    mail_url = f"maildir:{tmp_path / 'mail'}"
    patient: dict[str, Any] = {"lease_seconds": 900.0, "handler_timeout_seconds": 300.0}
    settings = Settings(database_url=postgres_url, mail_url=mail_url, pool_size=1, **patient)
    async with bootstrap(settings) as application:
        async with anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(
                    application.bus.handle, a_registration(email=f"user{n}@example.com")
                )

        async with application.database.read_transaction():
            with anyio.move_on_after(0.05) as impatient:
                await application.bus.execute(a_registration(email="late@example.com"))
            assert impatient.cancelled_caught

    async with sql_world(postgres_url) as world:
        assert len(await world.emails()) == 20
        assert await world.deliveries() == {}


async def test_listening_takes_no_connection_from_those_who_work(postgres_url: str) -> None:
    """A worker with a pool of one would otherwise wait for itself for ever."""
    async with (
        open_database(postgres_url, connections=1) as database,
        listening(database, lambda: None),
    ):
        with anyio.fail_after(60):
            async with database.read_transaction() as transaction:
                assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1


async def test_coupons_of_several_batches_are_all_given_away_at_once(
    postgres_url: str, tmp_path: Path
) -> None:
    """Whoever waited for the last coupon of one batch gets one of the next."""
    settings = Settings(database_url=postgres_url, mail_url=f"maildir:{tmp_path / 'mail'}")
    async with bootstrap(settings) as one, bootstrap(settings) as other:
        for number in range(3):
            await one.bus.handle(a_batch(reference=f"B{number}", quantity=4))

        async with anyio.create_task_group() as group:
            for n in range(30):
                bus = (one, other)[n % 2].bus
                group.start_soon(bus.handle, a_registration(email=f"user{n}@example.com"))

    async with sql_world(postgres_url) as world:
        owners = await world.coupon_owners()
        assert (len(owners), max(Counter(owners).values())) == (12, 1)
        for_later = {"expire_coupon", "send_coupon_reminder"}
        assert {handler for _, handler in await world.deliveries()} == for_later


async def test_leaving_dispatch_to_workers_makes_deliveries_available_at_once(
    postgres_url: str,
) -> None:
    """The front end stores and answers; it runs no handler of an event."""
    settings = Settings(database_url=postgres_url, dispatch="worker")
    async with bootstrap(settings, delivers=False) as front_end:
        report = await front_end.bus.handle(a_registration())

        assert len(report.events) == 1
        claims = await front_end.bus.outbox.claim(10, HANDLER_NAMES)
        assert len(claims) == 4
        assert {claim.attempt for claim in claims} == {1}


async def test_a_commit_wakes_the_workers_of_other_processes(postgres_url: str) -> None:
    """By NOTIFY only: with such long limits, the listener does not look by itself meanwhile."""
    settings = Settings(
        database_url=postgres_url,
        dispatch="worker",
        handler_timeout_seconds=3600,
        lease_seconds=7200,
    )
    async with (
        bootstrap(settings, delivers=False) as front_end,
        bootstrap(settings, delivers=False) as back_end,
    ):
        for n in range(9):
            wake = anyio.Event()
            async with listening(back_end.database, wake.set):
                await front_end.bus.execute(a_registration(email=f"user{n}@example.com"))
                with anyio.fail_after(60):
                    await wake.wait()
                assert await back_end.bus.outbox.claim(10, HANDLER_NAMES)


async def test_many_commits_are_few_notifications(postgres_url: str) -> None:
    """Each NOTIFY takes a lock over all databases of the server when it is committed."""
    wakes: list[None] = []
    heard = anyio.Event()

    def wake() -> None:
        wakes.append(None)
        heard.set()

    async with (
        open_database(postgres_url) as woken,
        listening(woken, wake),
        open_database(postgres_url) as committing,
    ):

        async def commit() -> None:
            async with committing.write_transaction() as transaction:
                await transaction.execute(text("SELECT 1"))
                transaction.notify_workers()
                await transaction.commit()

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(commit)
        with anyio.fail_after(60):
            await heard.wait()

    assert len(wakes) < 50


async def test_a_process_that_ends_after_its_commit_has_notified(postgres_url: str) -> None:
    """A command stores, and is gone within milliseconds; one that rolls back has nothing to say."""
    heard = anyio.Event()
    async with open_database(postgres_url) as woken, listening(woken, heard.set):
        for commits in (False, True):
            assert not heard.is_set()
            async with (
                open_database(postgres_url) as database,
                database.write_transaction() as transaction,
            ):
                await transaction.execute(text("SELECT 1"))
                transaction.notify_workers()
                if commits:
                    await transaction.commit()

        with anyio.fail_after(60):
            await heard.wait()


async def test_a_database_that_cannot_store_every_name_is_found_before_its_first_table(
    postgres_url: str,
) -> None:
    """Not at the first user who is called Иван."""
    url = make_url(postgres_url)
    latin = f"{url.database}_latin1"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        how = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        connection.execute(f"CREATE DATABASE {latin} {how}")
        try:
            latin_url = url.set(database=latin).render_as_string(hide_password=False)
            async with open_database(latin_url) as database:
                with pytest.raises(UnsuitableDatabase, match="stores text as LATIN1.*'UTF8'"):
                    await upgrade_schema(database)
        finally:
            connection.execute(f"DROP DATABASE {latin} WITH (FORCE)")


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
    postgres_url: str, caplog: pytest.LogCaptureFixture, stranger: str
) -> None:
    """The server waits for the rest of it, with all locks, and its own time limits do not count.

    Sessions of others may look the same: a debugger, a client that sends much at once, another
    application that runs on this engine. They stay.
    """
    sessions = text("SELECT pid FROM pg_stat_activity WHERE pid IN (:ours, :of_others)")
    with (
        closing(frozen_within_a_statement(postgres_url, stranger)) as of_others,
        closing(frozen_within_a_statement(postgres_url, "allocation:worker")) as ours,
    ):
        these = {"ours": ours.info.backend_pid, "of_others": of_others.info.backend_pid}
        async with (
            open_database(postgres_url, handler_timeout=1) as database,
            database.listen(lambda: None),
            anyio.create_task_group() as group,
        ):
            group.cancel_scope.deadline = anyio.current_time() + 60
            left = set(these.values())
            while these["ours"] in left:
                await anyio.sleep(0.1)
                async with database.read_transaction() as transaction:
                    left = set((await transaction.execute(sessions, these)).scalars())
        assert not group.cancel_scope.cancelled_caught
        assert left == {these["of_others"]}
    assert f"session {these['ours']} was frozen within a statement: ended" in caplog.text
