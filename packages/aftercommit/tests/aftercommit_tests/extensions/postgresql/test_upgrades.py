"""An upgrade of the schema while others work: it has its locks soon, or none while it waits."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from aftercommit import History, Transaction, ensure_schema
from aftercommit.alembic import upgrade_tables
from anyio.lowlevel import checkpoint
from sqlalchemy import Column, Connection, MetaData, Table, Text, create_engine, make_url, text

from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change_from_outside,
)
from aftercommit_tests.inside.errors import DatabaseUnavailable, UnsuitableDatabase
from aftercommit_tests.inside.stored import ENGINE, upgrade, upgrade_histories, upgrade_schema
from aftercommit_tests.later_schema import LATER
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-asyncpg", "trio-anyio")]


WAITING = text(
    "SELECT count(*) FROM pg_locks JOIN pg_database AS this ON this.oid = database"
    " WHERE datname = current_database() AND NOT granted"
)


async def until_somebody_waits(holder: Transaction) -> None:
    """Return when another transaction waits for a lock that this one has."""
    with anyio.fail_after(ENOUGH_SECONDS):
        while not (await holder.execute(WAITING)).scalar_one():
            await checkpoint()


async def test_an_upgrade_waits_for_others_and_holds_nothing_meanwhile(url: str) -> None:
    """Anyone who holds one table, and goes on to another, would be in a deadlock with it."""
    async with open_database(url) as database:
        database.histories = LATER
        async with database.write_transaction() as holder, anyio.create_task_group() as group:
            await holder.execute(text("SELECT 1 FROM things FOR UPDATE"))
            group.start_soon(upgrade_schema, database)
            await until_somebody_waits(holder)
            await holder.execute(text("UPDATE lines SET text = text"))
            await holder.execute(text("UPDATE aftercommit_deliveries SET handler = handler"))
            await holder.commit()

        await ensure_schema(database)


async def test_an_upgrade_does_not_wait_for_tables_that_it_leaves_as_they_are(url: str) -> None:
    """Some transactions write to one table first, and some to it last: nobody can lock them all."""
    async with open_database(url) as database, open_database(url) as other:
        database.histories = LATER
        async with other.write_transaction() as holder:
            for table in ("aftercommit_commands", "aftercommit_events", "lines"):
                await holder.execute(text(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE"))

            with anyio.fail_after(ENOUGH_SECONDS):
                await upgrade_schema(database)

        await ensure_schema(database)


@pytest.fixture
def by_other_names(tmp_path: Path) -> History:
    """A history whose next migration does not name the tables that it changes, and takes long."""
    newest = ENGINE.newest
    lines = (
        "from alembic import op",
        f"revision, down_revision = 'aftercommit_9000', '{newest}'",
        "def upgrade():",
        "    for name in ('events', 'deliveries'):",
        "        op.execute(f'UPDATE aftercommit_{name} SET handler = handler')",
        "        op.execute(f'ALTER TABLE aftercommit_{name} ADD COLUMN weight INTEGER')",
    )
    (tmp_path / "aftercommit_9000_it.py").write_text("\n".join(lines))
    return replace(ENGINE, folders=[*ENGINE.folders, tmp_path])


async def test_a_lock_that_nobody_has_foreseen_is_waited_for_with_nothing_in_hand(
    url: str, by_other_names: History
) -> None:
    """A migration can change what its file does not name. It is begun again, and done once."""
    async with open_database(url) as database, open_database(url) as other:
        database.histories = (by_other_names, *database.histories[1:])
        async with other.write_transaction() as holder, anyio.create_task_group() as group:
            await holder.execute(text("LOCK TABLE aftercommit_deliveries IN SHARE MODE"))
            group.start_soon(upgrade_schema, database)
            await until_somebody_waits(holder)
            await holder.execute(text("UPDATE aftercommit_events SET handler = handler"))
            await holder.commit()

        await ensure_schema(database)


@pytest.mark.usefixtures("url", "next_engine")  # in this order: the tables are of this version
async def test_a_migration_of_the_application_that_upgrades_our_tables_waits_in_the_same_way(
    url: str,
) -> None:
    """Its own connection would wait without an end, and one of its requests end in a deadlock."""
    before, after = [], []

    def migrate(connection: Connection) -> None:
        lock_timeout = text("SHOW lock_timeout")
        before.append(connection.scalar(lock_timeout))
        upgrade_tables(connection)
        after.append(connection.scalar(lock_timeout))

    def migrate_with_their_engine() -> None:
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            migrate(connection)
        engine.dispose()

    async with open_database(url, history=None) as database:
        async with database.write_transaction() as holder, anyio.create_task_group() as group:
            await holder.execute(text("LOCK TABLE aftercommit_deliveries IN ROW EXCLUSIVE MODE"))
            group.start_soon(anyio.to_thread.run_sync, migrate_with_their_engine)
            await until_somebody_waits(holder)
            await holder.execute(text("UPDATE aftercommit_events SET handler = handler"))
            await holder.commit()

        await upgrade_schema(database)
        await ensure_schema(database)
    assert before == after


async def test_an_upgrade_gives_up_if_a_table_stays_locked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait behind it each time it tries; and its user is told what to look for."""
    monkeypatch.setattr(upgrade, "WAITS", [0.05, 0.1])
    async with open_database(url) as database:
        database.histories = LATER
        async with database.write_transaction() as holder:
            await holder.execute(text("SELECT 1 FROM things FOR UPDATE"))
            with pytest.raises(DatabaseUnavailable, match="another session holds a lock"):
                await upgrade_schema(database)


@pytest.fixture
def oddly_named(tmp_path: Path) -> History:
    """A history of tables with names that have to be quoted; its second revision locks them."""
    known, names = MetaData(), ["order", "Users"]
    for name in names:
        Table(name, known, Column("x", Text))
    create = [f"op.execute('CREATE TABLE \"{name}\" (x TEXT)')" for name in names]
    for revision, former, body in (
        ("shop_0001", None, "; ".join(create)),
        ("shop_0002", "shop_0001", names),
    ):
        head = f"from alembic import op\nrevision, down_revision = {revision!r}, {former!r}"
        (tmp_path / f"{revision}.py").write_text(f"{head}\ndef upgrade():\n    {body}\n")
    return History("shop", known, [tmp_path], "shop_version")


async def test_tables_of_any_name_can_be_locked_for_an_upgrade(
    url: str, oddly_named: History
) -> None:
    """An application may call them what it likes: also by a word of SQL."""
    async with open_database(url) as database:
        async with database.write_transaction() as transaction:
            await transaction.run_sync(partial(oddly_named.upgrade, revision="shop_0001"))
            await transaction.commit()
        async with database.write_transaction() as transaction:
            await transaction.run_sync(partial(upgrade_histories, histories=[oddly_named]))

            locked = "SELECT relname FROM pg_locks JOIN pg_class ON oid = relation"
            found = await transaction.execute(text(f"{locked} WHERE mode = 'AccessExclusiveLock'"))
            assert {"order", "Users"} <= {*found.scalars()}


async def test_a_database_that_cannot_store_every_name_is_found_before_its_first_table(
    postgres_url: str,
) -> None:
    """Not at the first user who is called Иван."""
    url = make_url(postgres_url)
    latin = f"{url.database}_latin1"
    how = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    change_from_outside(postgres_url, f"CREATE DATABASE {latin} {how}")
    try:
        latin_url = url.set(database=latin).render_as_string(hide_password=False)
        async with open_database(latin_url) as database:
            with pytest.raises(UnsuitableDatabase, match="stores text as LATIN1.*'UTF8'"):
                await upgrade_schema(database)
    finally:
        change_from_outside(postgres_url, f"DROP DATABASE {latin} WITH (FORCE)")


async def test_positions_after_a_restore_are_beyond_all_that_were_given_out(url: str) -> None:
    """Receivers that keep the newest sequence would pass over what is new, and believe it old."""
    last = text("SELECT last_value FROM aftercommit_events_position")
    async with open_database(url) as database:
        await ensure_schema(database)
        async with database.write_transaction() as transaction:
            before = (await transaction.execute(last)).scalar_one()
            restored = "SELECT setval('aftercommit_events_position', last_value - 60000000)"
            await transaction.execute(text(f"{restored} FROM aftercommit_events_position"))
            await transaction.commit()

        await ensure_schema(database)

        async with database.write_transaction() as transaction:
            following = text("SELECT nextval('aftercommit_events_position')")
            assert (await transaction.execute(following)).scalar_one() > before > 10**15
            await transaction.execute(text("SET TRANSACTION READ ONLY"))
            for statement in database.backend.advance_positions:  # as on a standby: nothing fails
                await transaction.execute(statement)
