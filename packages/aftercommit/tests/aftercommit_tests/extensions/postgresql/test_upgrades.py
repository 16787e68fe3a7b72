"""An upgrade of the schema while others work: it has all its locks, or none while it waits."""

from functools import partial

import anyio
import pytest
from aftercommit.extensions.postgresql.backend import UnsuitableDatabase
from aftercommit.extensions.postgresql.table_locks import lock_tables
from aftercommit.sql.exceptions import DatabaseUnavailable
from aftercommit.sql.schema import ensure_schema, upgrade_schema
from anyio.lowlevel import checkpoint
from sqlalchemy import make_url, text

from aftercommit_tests.extensions.postgresql.server import (
    ENOUGH_SECONDS,
    change,
    change_from_outside,
)
from aftercommit_tests.later_schema import LATER
from aftercommit_tests.things.app import open_things_database as open_database

pytestmark = pytest.mark.anyio


async def test_an_upgrade_waits_for_others_and_holds_nothing_meanwhile(url: str) -> None:
    """Whoever holds one table, and goes on to another, would be in a deadlock with it."""
    blocked = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database AS this ON this.oid = database"
        " WHERE datname = current_database() AND NOT granted"
    )
    async with open_database(url) as database:
        database.histories = LATER
        async with database.write_transaction() as holder, anyio.create_task_group() as group:
            await holder.execute(text("SELECT 1 FROM things FOR UPDATE"))
            group.start_soon(upgrade_schema, database)
            with anyio.fail_after(ENOUGH_SECONDS):
                while not (await holder.execute(blocked)).scalar_one():
                    await checkpoint()
            await holder.execute(text("UPDATE lines SET text = text"))
            await holder.execute(text("UPDATE aftercommit_deliveries SET handler = handler"))
            await holder.commit()

        await ensure_schema(database)


async def test_an_upgrade_gives_up_if_a_table_stays_locked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait behind it each time it tries; and its user is told what to look for."""
    monkeypatch.setattr("aftercommit.extensions.postgresql.table_locks.TRIES", 2)
    async with open_database(url) as database:
        database.histories = LATER
        async with database.write_transaction() as holder:
            await holder.execute(text("SELECT 1 FROM things FOR UPDATE"))
            with pytest.raises(DatabaseUnavailable, match="somebody else holds a lock"):
                await upgrade_schema(database)


async def test_tables_of_any_name_are_locked_for_an_upgrade(url: str) -> None:
    """An application may call them what it likes: also by a word of SQL."""
    async with open_database(url) as database:
        await change(database, *(f'CREATE TABLE "{name}" (x TEXT)' for name in ("order", "Users")))
        async with database.write_transaction() as transaction:
            names = ["order", "Users", "missing"]
            await transaction.run_sync(partial(lock_tables, names=names))

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
