"""The schema of the application: migrations and tables agree, and no row is lost on the way."""

from functools import partial
from pathlib import Path

import pytest
from aftercommit import Database, ensure_schema
from aftercommit.database.schema import upgrade_schema
from aftercommit.deliveries.history import ENGINE
from aftercommit.project.migration import comparing
from alembic.autogenerate import compare_metadata
from sqlalchemy import Connection, text

from allocation.adapters import orm
from allocation.adapters.migrations import HISTORY
from allocation.adapters.repositories import SqlAlchemyUserProjection
from allocation.entrypoints.app import APP
from tests.builders import a_user

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-postgres", "trio-sqlite")]

USER = "'7d3c1a526c0e4a558a1b0c9a3f8d2e11', 'Иван', 'a@b.c', 'a@b.c', 1"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind, without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


async def execute(database: Database, statement: str) -> None:
    async with database.write_transaction() as transaction:
        await transaction.execute(text(statement))
        await transaction.commit()


async def test_migrations_and_tables_agree(empty_url: str) -> None:
    """The migrations are the only source of the schema; the mapping must not drift away."""

    def missing(connection: Connection) -> list[str]:
        differing = compare_metadata(comparing(connection, HISTORY), HISTORY.metadata)
        return [
            f'the tables have what no migration makes: make migration NAME="…": {each}'
            for each in differing
        ]

    async with APP.open_database(APP.load({"database_url": empty_url})) as database:
        await ensure_schema(database)
        async with database.read_transaction() as transaction:
            assert await transaction.run_sync(missing) == []


@pytest.mark.parametrize("revision", HISTORY.revisions())
async def test_every_revision_can_be_upgraded_with_its_rows(empty_url: str, revision: str) -> None:
    """A migration that only works on empty tables would be found by an operator."""
    async with APP.open_database(APP.load({"database_url": empty_url})) as database:
        async with database.write_transaction() as transaction:
            await transaction.run_sync(ENGINE.upgrade)
            await transaction.run_sync(partial(HISTORY.upgrade, revision=revision))
            await transaction.commit()
        columns = "(id, name, email, email_key, version)"
        await execute(database, f"INSERT INTO users {columns} VALUES ({USER})")

        await upgrade_schema(database)
        await ensure_schema(database)

        async with database.read_transaction() as transaction:
            found = await transaction.execute(text("SELECT email FROM users"))
            assert found.scalars().all() == ["a@b.c"]


async def test_a_refresh_resets_nothing_that_only_a_newer_version_knows(empty_url: str) -> None:
    """While two versions run, a column that one of them has added is not the other's to empty."""
    orm.start_mappers()
    row = "SELECT name, colour FROM user_view"
    async with APP.open_database(APP.load({"database_url": empty_url})) as database:
        await ensure_schema(database)
        await execute(database, "ALTER TABLE user_view ADD COLUMN colour VARCHAR")
        user = a_user(name="Иван")
        async with database.write_transaction() as transaction:
            transaction.add(user)
            await transaction.flush()
            await SqlAlchemyUserProjection(transaction).refresh(user.id)
            await transaction.execute(text("UPDATE user_view SET colour = 'red', name = '?'"))
            await SqlAlchemyUserProjection(transaction).refresh(user.id)
            assert tuple((await transaction.execute(text(row))).one()) == ("Иван", "red")
