"""SQLite, set up as the design asks: durable, with foreign keys, and never "database is locked"."""

import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from itertools import chain, count
from pathlib import Path

import anyio
import pytest
from aftercommit.claims import Committed
from aftercommit.errors import InvalidValue
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import DatabaseUnavailable, StatementRefused
from aftercommit.sql.transaction import Transaction
from anyio import to_thread
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from sqlalchemy import event, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from allocation.adapters import orm
from allocation.bootstrap import bootstrap
from allocation.config import Settings
from allocation.domain.coupons import BatchReference, CouponBatch, Quantity
from allocation.domain.events import UserRegistered
from allocation.domain.users import User
from tests.builders import TODAY, a_registration, a_user_id, open_database
from tests.things import write
from tests.worlds import a_uow, on, sql_world, sqlite_url

pytestmark = pytest.mark.anyio


async def pragma(database: Database, name: str) -> object:
    async with database.read_transaction() as transaction:
        return (await transaction.execute(text(f"PRAGMA {name}"))).scalar_one()


@pytest.mark.parametrize(
    ("name", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_every_connection_is_set_up(tmp_path: Path, name: str, value: object) -> None:
    """FULL makes a commit survive a power cut; without it WAL may lose the last ones."""
    async with open_database(sqlite_url(tmp_path)) as database:
        assert await pragma(database, name) == value


async def test_a_new_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses at once to switch such a file to WAL, whatever the timeout is."""
    path = tmp_path / "test.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        await to_thread.run_sync(other.execute, "BEGIN IMMEDIATE")
        async with (
            open_database(sqlite_url(tmp_path)) as database,
            anyio.create_task_group() as group,
        ):
            group.start_soon(pragma, database, "journal_mode")
            await anyio.sleep(0.1)
            await to_thread.run_sync(other.rollback)


async def test_the_clock_of_the_database_is_that_of_the_machine(tmp_path: Path) -> None:
    """In seconds since 1970; every lease is measured with it."""
    async with (
        open_database(sqlite_url(tmp_path)) as database,
        database.read_transaction() as transaction,
    ):
        before = time.time()
        now = (await transaction.execute(select(database.clock))).scalar_one()
        after = time.time()

    assert before - 0.01 <= now <= after + 0.01  # it counts milliseconds


async def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    """A long write must not stop the pages that only look."""
    async with (
        open_database(sqlite_url(tmp_path)) as database,
        database.write_transaction() as writer,
    ):
        await writer.execute(text("CREATE TABLE t (x)"))
        with anyio.fail_after(60):
            assert await pragma(database, "user_version") == 0


async def test_many_writers_that_read_first_never_find_the_database_locked(
    tmp_path: Path,
) -> None:
    """With a plain BEGIN, hundreds of these would fail despite the busy timeout."""
    async with (
        open_database(sqlite_url(tmp_path)) as one,
        open_database(sqlite_url(tmp_path)) as other,
    ):
        async with one.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE counter AS SELECT 0 AS n"))
            await transaction.commit()

        async def increment(database: Database) -> None:
            async with database.write_transaction() as transaction:
                n = (await transaction.execute(text("SELECT n FROM counter"))).scalar_one()
                await transaction.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})
                await transaction.commit()

        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(increment, one)
                group.start_soon(increment, other)

        async with one.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT n FROM counter"))).scalar_one() == 100


WRONG = {
    "a missing table": ("SELECT * FROM nowhere", {}),
    "a missing column": ("SELECT nothing FROM (SELECT 1 AS n) AS t", {}),
    "a wrong word": ("SELEKT 1", {}),
    "a number that is too long": ("SELECT CAST(:value AS BIGINT)", {"value": 10**30}),
    "a text that no encoding knows": ("SELECT CAST(:value AS VARCHAR)", {"value": "\ud800"}),
    "a missing parameter": ("SELECT CAST(:value AS VARCHAR)", {}),
}


@pytest.mark.parametrize("driver", ["", "anyio"])
@pytest.mark.parametrize(("statement", "values"), WRONG.values(), ids=WRONG)
async def test_what_no_database_accepts_is_a_mistake_of_ours(
    database_url: str, driver: str, statement: str, values: dict[str, object]
) -> None:
    """To call it an outage would try it for ever; and the next statement works."""
    async with open_database(on(driver, database_url)) as database:
        with pytest.raises(StatementRefused) as refusal:
            async with database.read_transaction() as transaction:
                await transaction.execute(text(statement), values)

        assert len(str(refusal.value)) > 50  # with the driver's reason
        async with database.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1


async def test_a_failure_that_a_handler_swallows_is_raised_by_its_commit(database_url: str) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, which no driver takes for an error."""
    async with sql_world(database_url) as world:
        with pytest.raises(IntegrityError):
            async with (scope := a_uow(world)) as uow:
                await uow.registration_log.append(a_user_id(), "ivan@example.com")
                with suppress(Exception):
                    await uow.registration_log.append(None, None)  # type: ignore[arg-type]

        assert scope.committed == Committed()
        assert await world.logged() == []


SWALLOWED = {
    "a violated constraint": ("INSERT INTO t VALUES (1)", IntegrityError),
    "a wrong statement": ("SELECT * FROM nowhere", StatementRefused),
}


@pytest.mark.parametrize("driver", ["", "anyio"])
@pytest.mark.parametrize(("wrong", "error"), SWALLOWED.values(), ids=SWALLOWED)
async def test_a_transaction_in_which_a_statement_failed_cannot_be_committed(
    database_url: str, driver: str, wrong: str, error: type[Exception]
) -> None:
    """SQLite would store the rest, and PostgreSQL would answer COMMIT with a silent ROLLBACK."""
    async with open_database(on(driver, database_url)) as database:
        async with database.write_transaction() as transaction:
            await transaction.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY)"))
            await transaction.execute(text("INSERT INTO t VALUES (1)"))
            await transaction.commit()

        with pytest.raises(error):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("INSERT INTO t VALUES (2)"))
                with suppress(Exception):
                    await transaction.execute(text(wrong))
                await transaction.commit()

        async with database.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT id FROM t"))).all() == [(1,)]


USES: dict[str, Callable[[Transaction], Awaitable[object]]] = {
    "get": lambda transaction: transaction.get(User, a_user_id()),
    "load": lambda transaction: transaction.load(select(User)),
    "execute": lambda transaction: transaction.execute(text("SELECT 1")),
    "commit": lambda transaction: transaction.commit(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("commits", [True, False])
async def test_a_transaction_cannot_be_used_after_its_end(
    database_url: str, commits: bool, use: Callable[[Transaction], Awaitable[object]]
) -> None:
    """It would begin another one, which nobody commits, and keep its connection for ever."""
    async with sql_world(database_url) as world:
        async with world.database.write_transaction() as transaction:
            await transaction.execute(text("SELECT 1"))
            if commits:
                await transaction.commit()
                with pytest.raises(SQLAlchemyError):
                    await use(transaction)

        with pytest.raises(SQLAlchemyError):
            await use(transaction)


async def test_whoever_waits_in_line_can_be_cancelled(database_url: str) -> None:
    """Only what the driver has begun is waited for; a handler's time goes on in the line."""

    async def hold(*, task_status: TaskStatus[None]) -> None:
        async with database.write_transaction():
            task_status.started()
            await anyio.sleep_forever()

    async with (
        open_database(database_url, connections=1) as database,
        anyio.create_task_group() as group,
    ):
        await group.start(hold)
        with anyio.move_on_after(0.05) as limit:
            async with database.write_transaction():
                pytest.fail("there is one connection")
        group.cancel_scope.cancel()

    assert limit.cancelled_caught


async def test_a_read_only_file_is_a_resource_error(tmp_path: Path) -> None:
    """It can be looked at, not changed."""
    url = f"sqlite:///file:{tmp_path}/test.db?mode={{}}&uri=true"
    async with (
        open_database(url.format("rwc")) as database,
        database.write_transaction() as transaction,
    ):
        await transaction.execute(text("CREATE TABLE t (x)"))
        await transaction.commit()

    async with open_database(url.format("ro")) as database:
        with pytest.raises(DatabaseUnavailable, match="readonly"):
            async with database.write_transaction() as transaction:
                await transaction.execute(text("INSERT INTO t VALUES (1)"))


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_the_driver_of_another_event_loop_is_refused() -> None:
    """In one sentence, at start, not with a traceback at the first statement."""
    with pytest.raises(InvalidValue, match=r"names sqlite\+aiosqlite, which is not supported"):
        async with open_database("sqlite+aiosqlite:///allocation"):
            pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("driver", ["aiosqlite", "anyio"])
async def test_the_driver_can_be_named(tmp_path: Path, driver: str) -> None:
    """Whoever wants the faster one on asyncio may have it."""
    async with open_database(f"sqlite+{driver}:///{tmp_path / 'test.db'}") as database:
        assert database.engine.dialect.driver == driver
        assert await pragma(database, "foreign_keys") == 1


async def test_a_coupon_that_this_unit_of_work_has_given_away_is_gone(database_url: str) -> None:
    """The row is read anew under its lock; what is not written yet must not be forgotten."""
    async with sql_world(database_url) as world:
        async with a_uow(world) as uow:
            uow.coupon_batches.add(CouponBatch.add(BatchReference("WELCOME"), Quantity(2)))

        coupons = []
        with pytest.raises(ZeroDivisionError):  # the users of the coupons are not there
            async with a_uow(world) as uow:
                for number in range(3):
                    batch = await uow.coupon_batches.next_available()
                    coupon = batch.allocate(a_user_id(), token=str(number), today=TODAY)
                    coupons.append(coupon)
                raise ZeroDivisionError

    assert [coupon is not None for coupon in coupons] == [True, True, False]


async def test_the_next_coupon_costs_one_statement(database_url: str) -> None:
    """Every registration asks for it, and holds up all others meanwhile."""
    statements: list[str] = []
    async with sql_world(database_url) as world:
        async with a_uow(world) as uow:
            uow.coupon_batches.add(CouponBatch.add(BatchReference("WELCOME"), Quantity(2)))
        for database in (world.database, world.other_database):
            event.listen(
                database.engine.sync_engine,
                "before_cursor_execute",
                lambda *arguments: statements.append(arguments[2]),
            )

        async with a_uow(world) as uow:
            await uow.coupon_batches.next_available()

    assert len([each for each in statements if "coupon_batches" in each]) == 1


REFUSED_URLS = {
    **dict.fromkeys(
        ["nonsense", "sqlite://", "sqlite:///:memory:", "oracle:///x"], "^database URL "
    ),
    "sqlite:///q?x.db": "has no option=value after the",
    "sqlite:///q.db?unknown=value": "has unknown after the .; known are mode, timeout, uri",
    "sqlite:///q.db?mode=ro": "has a mode, which needs file:FILE and uri=true",
    "sqlite:///q.db?timeout=soon": "an option that is wrong: .* 'soon'",
}


@pytest.mark.parametrize(("url", "problem"), REFUSED_URLS.items())
async def test_an_unusable_url_is_refused(url: str, problem: str) -> None:
    """At start, with what is wrong, and without the URL itself, which may hold a password."""
    with pytest.raises(InvalidValue, match=problem):
        async with open_database(url):
            pass


async def test_a_handler_that_holds_the_only_write_lock_for_long_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other writers wait for it, and nobody would know for whom."""
    monkeypatch.setattr("aftercommit.sql.unit_of_work.LONG_SECONDS", 0.0)
    async with sql_world(sqlite_url(tmp_path)) as world, a_uow(world) as uow:
        write(uow, "lamp")

    assert "MakeThing held the only write lock of the database for" in caplog.text


async def test_a_command_is_stored_or_raised_wherever_it_is_cancelled(tmp_path: Path) -> None:
    """After the commit nothing can be cancelled until the caller knows what was stored."""
    settings = Settings(database_url=sqlite_url(tmp_path), mail_url=f"maildir:{tmp_path}/mail")
    returned: set[str] = set()
    async with bootstrap(settings) as application:

        async def register(email: str) -> None:
            committed = await application.bus.execute(a_registration(email=email))
            returned.update(
                each.event.email
                for each in committed.events
                if isinstance(each.event, UserRegistered)
            )

        for steps in chain(range(80), (80 * 2**n for n in count())):
            if steps >= 80 and returned:  # at some point, it has finished
                break
            async with anyio.create_task_group() as group:
                group.start_soon(register, f"user{steps}@example.com")
                for _ in range(steps):
                    await checkpoint()
                group.cancel_scope.cancel()

        async with application.database.read_transaction() as transaction:
            stored = {
                str(email) for (email,) in await transaction.execute(select(orm.users.c.email))
            }

    assert stored == returned
