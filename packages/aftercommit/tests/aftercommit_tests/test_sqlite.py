"""SQLite, set up as the design asks: durable, private, and never "database is locked"."""

import re
import sqlite3
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import anyio
import pytest
from aftercommit import Database, InvalidValue, ensure_schema, new_delivery_store
from aftercommit.errors import Error, kind_of
from anyio import to_thread
from sqlalchemy import delete, text

from aftercommit_tests.asked import asked_of
from aftercommit_tests.builders import NAMES, POLICY, some_deliveries
from aftercommit_tests.conftest import NewWorld
from aftercommit_tests.inside.claims import NewDelivery, limits
from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.stored import set_up, tables, unit_of_work_scope
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "test.db"


@pytest.fixture
def url(file: Path) -> str:
    """Its URL."""
    return f"sqlite:///{file}"


async def pragma(database: Database, name: str) -> object:
    async with database.read_transaction() as transaction:
        return (await transaction.execute(text(f"PRAGMA {name}"))).scalar_one()


async def write(database: Database, *statements: str) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(text(statement))
        await transaction.commit()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


async def test_every_connection_is_set_up(url: str) -> None:
    """FULL makes a commit survive a power cut; without it WAL may lose the last ones."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}
    async with open_database(url) as database:
        assert {name: await pragma(database, name) for name in wanted} == wanted


def test_an_error_of_a_driver_that_has_no_code_stays_what_it_is() -> None:
    """A connection that was lost meanwhile says so, and not that an attribute is missing."""
    cursor = Mock(**{"execute.side_effect": sqlite3.OperationalError("it was terminated")})

    with pytest.raises(sqlite3.OperationalError, match="it was terminated"):
        set_up(Mock(**{"cursor.return_value": cursor}), None)


async def test_a_new_file_that_another_process_writes_to_is_waited_for(
    url: str, file: Path
) -> None:
    """SQLite itself refuses at once to switch such a file to WAL, whatever the timeout is."""
    with closing(sqlite3.connect(file, check_same_thread=False)) as other:
        await to_thread.run_sync(other.execute, "BEGIN IMMEDIATE")
        async with open_database(url) as database, anyio.create_task_group() as group:
            group.start_soon(pragma, database, "journal_mode")
            await anyio.sleep(0.1)  # it would have failed by then
            await to_thread.run_sync(other.rollback)


async def test_readers_do_not_wait_for_a_writer(url: str) -> None:
    """A long write must not stop the pages that only look."""
    async with open_database(url) as database, database.write_transaction() as writer:
        await writer.execute(text("CREATE TABLE t (x)"))
        with anyio.fail_after(60):
            assert await pragma(database, "user_version") == 0


async def test_many_writers_that_read_first_never_find_the_database_locked(url: str) -> None:
    """With a plain BEGIN, hundreds of these would fail despite the busy timeout."""

    async def increment(database: Database) -> None:
        async with database.write_transaction() as transaction:
            n = (await transaction.execute(text("SELECT n FROM counter"))).scalar_one()
            await transaction.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})
            await transaction.commit()

    async with open_database(url) as one, open_database(url) as other:
        await write(one, "CREATE TABLE counter AS SELECT 0 AS n")
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(increment, one)
                group.start_soon(increment, other)

        async with one.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT n FROM counter"))).scalar_one() == 100


async def test_a_file_that_may_not_be_made_or_changed_is_a_resource_error(file: Path) -> None:
    """Not even an empty one is made; one that is there can be looked at, not changed."""
    url = f"sqlite:///file:{file}?mode={{}}&uri=true"
    for mode in ("ro", "rw"):
        async with open_database(url.format(mode)) as database:
            with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
                await pragma(database, "user_version")
    assert await to_thread.run_sync(modes, file.parent) == {}

    async with open_database(url.format("rwc")) as database:
        await write(database, "CREATE TABLE t (x)")
    async with open_database(url.format("ro")) as database:
        with pytest.raises(DatabaseUnavailable, match="readonly"):
            await write(database, "INSERT INTO t VALUES (1)")


MEANINGS = {
    "the file is read-only": ("PRAGMA query_only = 1", "DELETE FROM t", "unavailable"),
    "it is full": (
        "PRAGMA max_page_count = 1",
        "INSERT INTO t VALUES (4, zeroblob(1000000))",
        "unavailable",
    ),
    "a trigger refuses": (
        "CREATE TRIGGER no BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'no'); END",
        "DELETE FROM t",
        "transient",
    ),
    "the statement is wrong": ("SELECT 1", "SELEKT 1", "defect"),
    "a value has another type": ("SELECT 1", "INSERT INTO t VALUES ('a', 1)", "defect"),
    "a value is too long": ("SELECT 1", "INSERT INTO t VALUES (2, zeroblob(2000000000))", "defect"),
}


@pytest.mark.parametrize(("before", "statement", "kind"), MEANINGS.values(), ids=MEANINGS)
async def test_what_it_refuses_counts_as_an_attempt_unless_it_is_an_outage(
    url: str, before: str, statement: str, kind: str
) -> None:
    """What a trigger refuses would otherwise be tried for ever, and never be parked."""
    async with open_database(url) as database:
        await write(database, "CREATE TABLE t (id INTEGER PRIMARY KEY, x NOT NULL)")
        await write(database, "INSERT INTO t VALUES (1, 1)")
        with pytest.raises(Error) as raised:
            async with database.write_transaction() as transaction:
                await transaction.execute(text(before))
                await transaction.execute(text(statement))

    assert kind_of(raised.value) == kind


@pytest.mark.parametrize("is_link", [False, True])
async def test_a_new_file_can_be_read_by_its_owner_only(
    url: str, file: Path, is_link: bool
) -> None:
    """There are names and addresses in it, and in its log; also behind a link to another disk."""
    if is_link:
        await anyio.Path(file).symlink_to(file.with_name("target.db"))
    async with open_database(url) as database, database.write_transaction() as transaction:
        await transaction.execute(text("CREATE TABLE t (x)"))
        await transaction.commit()
        found = await to_thread.run_sync(modes, file.parent)

    assert len(found) == 3 + is_link
    assert set(found.values()) == {0o600}


async def test_the_log_shrinks_after_a_long_reader(url: str, file: Path) -> None:
    """While somebody reads it can only grow; it must not fill the disk forever."""
    log = anyio.Path(f"{file}-wal")
    async with open_database(url) as database:
        await write(database, "CREATE TABLE t (x)")
        async with database.read_transaction() as reader:
            await reader.execute(text("SELECT * FROM t"))
            await write(database, "INSERT INTO t VALUES (zeroblob(20000000))")
            assert (await log.stat()).st_size > 20_000_000

        for _ in range(3):
            await write(database, "INSERT INTO t VALUES (zeroblob(1))")

        assert (await log.stat()).st_size <= 16 * 1024**2


async def test_a_handler_that_holds_the_only_write_lock_for_long_is_named(
    new_world: NewWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other writers wait for it, and nobody would know for whom."""
    monkeypatch.setattr(unit_of_work_scope, "LONG_SECONDS", 0.0)
    world = await new_world()
    async with world.a_uow() as uow:
        uow.write("lamp")

    assert "MakeThing held the only write lock of the database for" in caplog.text


REFUSED_URLS = {
    **dict.fromkeys(
        ["nonsense", "sqlite://", "sqlite:///:memory:", "oracle:///x"], "^database URL "
    ),
    "sqlite:///q?x.db": "has something else than option=value after the",
    "sqlite:///q.db?unknown=value": "an unknown option after the .; known are mode, timeout, uri",
    "sqlite:///q.db?mode=ro": "has a mode, which needs file:FILE and uri=true",
    "sqlite:///q.db?timeout=soon": "has an option with a wrong value after the",
}


@pytest.mark.parametrize(("url", "problem"), REFUSED_URLS.items())
async def test_an_unusable_url_is_refused(url: str, problem: str) -> None:
    """At start, with what is wrong, and without the URL itself, which may hold a password."""
    with pytest.raises(InvalidValue, match=problem):
        async with open_database(url):
            pass


async def test_the_driver_can_be_named_but_not_that_of_another_event_loop(
    file: Path, anyio_backend: str
) -> None:
    """Anyone who wants the faster one on asyncio may have it; on Trio, it is refused at start."""
    for driver in ("anyio", "aiosqlite"):
        is_here = driver == "anyio" or anyio_backend == "asyncio"
        told = r"names aiosqlite, which is not supported on trio, unlike sqlite\+anyio"
        with nullcontext() if is_here else pytest.raises(InvalidValue, match=told):
            async with open_database(f"sqlite+{driver}:///{file}") as database:
                assert database.engine.dialect.driver == driver
                assert await pragma(database, "foreign_keys") == 1


LAST = "ordered"


async def store_unclaimed(database: Database, of_events: int) -> None:
    """Store deliveries that nobody has claimed."""
    store = new_delivery_store(database, replace(POLICY, dispatch="worker"))
    async with database.write_transaction() as transaction:
        envelopes, new = some_deliveries(*NAMES, of_events=of_events)
        ordered = [NewDelivery(each, LAST, 0.0, LAST) for each in envelopes]
        await store.store(transaction, envelopes, [*new, *ordered])
        await transaction.commit()


@pytest.mark.parametrize("analyzed", ["never", "with three events", "with many", "of one handler"])
async def test_statistics_of_sqlite_do_not_decide_what_a_claim_reads(
    url: str, analyzed: str
) -> None:
    """An operator may run ANALYZE at any time. With three events, a scan is what costs least."""
    limit = limits.Limit("bell", at_once=5, per_minute=6000)
    async with open_database(url) as database:
        await ensure_schema(database)
        await store_unclaimed(database, 3)
        if analyzed == "with three events":
            await write(database, "ANALYZE")
        await store_unclaimed(database, 2000)
        if analyzed == "of one handler":
            others = delete(tables.deliveries).where(tables.deliveries.c.handler != NAMES[0])
            async with database.write_transaction() as transaction:
                await transaction.execute_dml(others)
                await transaction.commit()
        if analyzed in ("with many", "of one handler"):
            await write(database, "ANALYZE")
    async with open_database(url) as database:  # which reads the statistics
        store = new_delivery_store(database, POLICY, {NAMES[0]: limit})
        with asked_of(database) as asked:
            for scheduled in (True, False):
                await store.seconds_until_due(NAMES, scheduled=scheduled)
            for name in (*NAMES, LAST):
                await store.complete(
                    (await store.claim(2, [name]) or await store.claim(2, NAMES))[0]
                )
        async with database.engine.connect() as connection:
            plans = dict[str, list[str]]()
            for each in asked:
                if each.sql.startswith(("SELECT", "WITH", "UPDATE")):
                    explained = f"EXPLAIN QUERY PLAN {each.sql}", each.values
                    rows = await connection.exec_driver_sql(*explained)
                    plans[each.sql] = [step for *_, step in rows]

    assert len(plans) > 5
    scans = [(step, sql) for sql, plan in plans.items() for step in plan if SCANS.search(step)]
    assert scans == []


SCANS = re.compile(r"SCAN aftercommit_(deliveries|events)|B-TREE|AUTOMATIC")
