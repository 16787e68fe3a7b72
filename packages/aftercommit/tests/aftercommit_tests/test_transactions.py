"""Transactions, on each database: nothing half, nothing unnoticed, nobody waits forever."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count
from uuid import uuid4

import anyio
import pytest
from aftercommit import Transaction
from aftercommit.errors import TransientError, WiringError
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from aftercommit_tests.builders import a_command, a_thing_id, on
from aftercommit_tests.inside.claims import Committed
from aftercommit_tests.inside.errors import StatementRefused
from aftercommit_tests.things import storage
from aftercommit_tests.things.app import Settings, bootstrap, open_things_database
from aftercommit_tests.things.domain import Thing
from aftercommit_tests.things.storage import UnitOfWork
from aftercommit_tests.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

WRONG: dict[str, tuple[str, dict[str, object]]] = {
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
    """To call it an outage would try it forever; and the next statement works."""
    async with open_things_database(on(driver, database_url)) as database:
        with pytest.raises(StatementRefused) as refusal:
            async with database.read_transaction() as transaction:
                await transaction.execute(text(statement), values)

        assert len(str(refusal.value)) > 50  # with the driver's reason
        async with database.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT 1"))).scalar_one() == 1


LAMP = {"id": uuid4(), "text": "lamp", "version": 1}
SWALLOWED = {
    "a violated constraint": ("INSERT INTO things (version) VALUES (1)", IntegrityError),
    "a wrong statement": ("SELECT * FROM nowhere", StatementRefused),
}


@pytest.mark.parametrize(("wrong", "error"), SWALLOWED.values(), ids=SWALLOWED)
async def test_a_failure_that_a_handler_swallows_is_raised_by_its_commit(
    world: World, wrong: str, error: type[Exception]
) -> None:
    """SQLite would store the rest, and PostgreSQL would answer COMMIT with a silent ROLLBACK."""
    with pytest.raises(error):
        async with (unit := world.a_uow()) as uow:
            uow.write("lamp")
            with suppress(Exception):
                await uow.transaction.execute(text(wrong))

    assert unit.committed == Committed()
    assert await world.lines() == []


async def ends_in_sql(transaction: Transaction) -> None:
    await transaction.execute(text("ROLLBACK"))


async def begins_again_in_sql(transaction: Transaction) -> None:
    """Leave nothing from which anyone could see later that it was not one transaction."""
    await transaction.execute(text("COMMIT"))
    await transaction.execute(text("BEGIN"))


async def ends_by_connection(transaction: Transaction) -> None:
    await transaction.connection.rollback()


async def commits_by_connection(transaction: Transaction) -> None:
    await transaction.connection.commit()


@pytest.mark.parametrize(
    "ends", [ends_in_sql, begins_again_in_sql, ends_by_connection, commits_by_connection]
)
async def test_a_handler_cannot_end_the_transaction_of_its_unit_of_work(
    world: World, ends: Callable[[Transaction], Awaitable[None]]
) -> None:
    """What it has written before would be lost or stored, and its delivery the other way."""
    with pytest.raises(WiringError):
        async with (unit := world.a_uow()) as uow:
            await uow.transaction.execute(insert(storage.lines).values(LAMP))
            await ends(uow.transaction)

    assert unit.committed == Committed()
    assert await world.lines() == []


@pytest.mark.parametrize("error", [None, OSError("away")], ids=["returns", "fails"])
async def test_a_task_that_outlives_a_handler_changes_nothing(
    world: World, error: Exception | None
) -> None:
    """Its statement would come after the ROLLBACK, where SQLite executes it in no transaction."""
    outcomes = []

    async def goes_on(uow: UnitOfWork, steps: int) -> None:
        for _ in range(steps):
            await checkpoint()
        try:
            await uow.transaction.execute(insert(storage.lines).values(LAMP | {"id": uuid4()}))
        except (SQLAlchemyError, WiringError, TransientError) as refusal:
            outcomes.append(refusal)

    for steps in range(12):
        unit = world.a_uow()
        async with anyio.create_task_group() as others:
            with suppress(OSError, WiringError):
                async with unit as uow:
                    others.start_soon(goes_on, uow, steps)
                    for _ in range(12 - steps):
                        await checkpoint()
                    if error:
                        raise error
        if error:
            assert await world.lines() == []
        async with world.a_uow() as uow:
            assert (await uow.transaction.execute(text("SELECT 1"))).scalar_one() == 1
    assert outcomes


async def test_a_commit_that_fails_leaves_no_transaction_behind(world: World) -> None:
    """SQLite keeps one open, if a constraint is violated that is checked at the end.

    Anyone who is given its connection next would go on in it, and store what has failed.
    """
    key = "REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED"
    kind = "CHAR(32)" if world.database.backend.single_writer else "UUID"
    async with world.database.write_transaction() as transaction:
        await transaction.execute(text(f"CREATE TABLE parts (thing_id {kind} {key})"))
        await transaction.commit()
    with pytest.raises(IntegrityError):
        async with world.database.write_transaction() as transaction:
            await transaction.execute(text(f"INSERT INTO parts VALUES ('{uuid4()}')"))
            await transaction.commit()

    for _ in range(3):
        async with world.database.write_transaction() as transaction:
            await transaction.execute(insert(storage.lines).values(LAMP | {"id": uuid4()}))
            await transaction.commit()
    assert await world.lines() == ["lamp"] * 3


USES: dict[str, Callable[[Transaction], Awaitable[object]]] = {
    "get": lambda transaction: transaction.get(Thing, a_thing_id()),
    "load": lambda transaction: transaction.load(select(Thing)),
    "execute": lambda transaction: transaction.execute(text("SELECT 1")),
    "commit": lambda transaction: transaction.commit(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("commits", [True, False])
async def test_a_transaction_cannot_be_used_after_its_end(
    world: World, commits: bool, use: Callable[[Transaction], Awaitable[object]]
) -> None:
    """It would begin another one, which nobody commits, and keep its connection forever."""
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
        open_things_database(database_url, connections=1) as database,
        anyio.create_task_group() as group,
    ):
        await group.start(hold)
        with anyio.move_on_after(0.05) as limit:
            async with database.write_transaction():
                pytest.fail("there is one connection")
        group.cancel_scope.cancel()

    assert limit.cancelled_caught


async def test_a_command_is_stored_or_raised_wherever_it_is_cancelled(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """After the commit nothing can be cancelled until the caller knows what was stored.

    Nor is the only connection lost by it, which the second of two waits for.
    """
    returned, connected = set[str](), list[object]()

    async def make(name: str) -> None:
        await application.bus.execute(a_command(name))
        returned.add(name)

    async with bootstrap(replace(settings, pool_size=1)) as application:
        pool = application.database.engine.sync_engine
        event.listen(pool, "connect", lambda connection, _: connected.append(connection))
        for steps in chain(range(80), (80 * 2**n for n in count())):
            if steps >= 80 and len(returned) > 1:  # at some point, both have finished
                break
            async with anyio.create_task_group() as group:
                for first_or_second in (1, 2):
                    group.start_soon(make, f"thing {first_or_second} of {steps}")
                for _ in range(steps):
                    await checkpoint()
                group.cancel_scope.cancel()
        async with application.database.read_transaction() as transaction:
            stored = (await transaction.execute(select(storage.things.c.name))).scalars().all()

    assert ({*stored}, connected) == (returned, [])
    warnings = [record.msg for record in caplog.records if record.levelno >= logging.WARNING]
    assert [each for each in warnings if "held the only write lock" not in each] == []


async def test_the_clock_of_the_database_is_that_of_its_machine(database_url: str) -> None:
    """In seconds since 1970; every lease is measured with it."""
    async with (
        open_things_database(database_url) as database,
        database.read_transaction() as transaction,
    ):
        before = time.time()
        now = (await transaction.execute(select(database.clock))).scalar_one()
        after = time.time()

    assert before - 0.01 <= now <= after + 0.01  # SQLite counts milliseconds
