"""A changed rule of uniqueness stands in a migration, and is upgraded to with all rows."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from aftercommit import Database, History, Transaction
from aftercommit.project import migration

from aftercommit_tests.inside.errors import DatabaseUnavailable
from aftercommit_tests.inside.stored import upgrade_schema
from aftercommit_tests.things.app import open_things_database
from aftercommit_tests.things.storage import HISTORY

pytestmark = [pytest.mark.anyio, pytest.mark.everywhere]

CLUB, MEMBER = uuid4(), uuid4()
OF_CLUB = {"id": CLUB, "limit": 2, "version": 1}
OF_MEMBER = {"id": MEMBER, "club_id": CLUB, "name": "Olga"}


@pytest.fixture
def changed(tmp_path: Path) -> History:
    """The history of a version whose clubs have limits of their own; things may share a name."""
    tables = sa.MetaData(naming_convention=HISTORY.metadata.naming_convention)
    for each in HISTORY.metadata.tables.values():
        each.to_metadata(tables)
    clubs, things = tables.tables["clubs"], tables.tables["things"]
    clubs.append_constraint(sa.UniqueConstraint(clubs.c.limit))
    [unique] = [each for each in things.constraints if isinstance(each, sa.UniqueConstraint)]
    things.constraints.remove(unique)
    history = replace(HISTORY, metadata=tables, folders=[*HISTORY.folders, tmp_path])
    assert migration.make("Limits are unique", history) is not None
    assert migration.make("Nothing has changed", history) is None
    return history


@pytest.fixture
async def before(empty_url: str) -> str:
    """A database of each kind that has a club with a member."""
    async with open_things_database(empty_url) as database:
        await upgrade_schema(database)
        async with database.write_transaction() as transaction:
            for table, row in (("clubs", OF_CLUB), ("members", OF_MEMBER)):
                await store(transaction, table, row)
            await transaction.commit()
    return empty_url


async def store(transaction: Transaction, table: str, row: dict[str, object]) -> None:
    await transaction.execute(sa.insert(HISTORY.metadata.tables[table]).values(row))


async def violating(database: Database, table: str, row: dict[str, object]) -> str | None:
    """Try to store a row; return the name of the rule that refuses it."""
    async with database.write_transaction() as transaction:
        try:
            await store(transaction, table, row)
        except sa.exc.IntegrityError as error:
            return str(error.orig)
        await transaction.commit()
    return None


async def test_a_changed_rule_of_uniqueness_is_upgraded_to_with_all_rows(
    before: str, changed: History
) -> None:
    """SQLite has to rebuild the table, to which the rows of another one refer."""
    async with open_things_database(before, history=changed) as database:
        await upgrade_schema(database)
        clubs = sa.select(HISTORY.metadata.tables["clubs"])
        members = sa.select(HISTORY.metadata.tables["members"])
        async with database.read_transaction() as transaction:
            [row] = (await transaction.execute(clubs)).mappings()
            assert dict(row) == OF_CLUB
            [row] = (await transaction.execute(members)).mappings()
            assert dict(row) == OF_MEMBER
        assert await violating(database, "clubs", OF_CLUB | {"id": uuid4()})
        assert not await violating(database, "clubs", OF_CLUB | {"id": uuid4(), "limit": 3})
        for _ in range(2):
            named = {"id": uuid4(), "name": "lamp", "version": 1}
            assert not await violating(database, "things", named)
        strange = OF_MEMBER | {"id": uuid4(), "club_id": uuid4()}
        assert "foreign key" in str(await violating(database, "members", strange)).lower()


@pytest.fixture
def wrong(tmp_path: Path) -> History:
    """The history of a version that deletes rows to which others refer."""
    (tmp_path / "things_0002_wrong.py").write_text(
        "from alembic import op\n"
        "revision = 'things_0002'\n"
        "down_revision = 'things_0001'\n"
        "def upgrade(): op.execute('DELETE FROM clubs')\n"
    )
    return replace(HISTORY, folders=[*HISTORY.folders, tmp_path])


async def test_rows_that_refer_to_nothing_after_a_migration_stop_the_upgrade(
    before: str, wrong: History
) -> None:
    """Nothing is changed then."""
    async with open_things_database(before, history=wrong) as database:
        with pytest.raises((DatabaseUnavailable, sa.exc.IntegrityError), match="members"):
            await upgrade_schema(database)
        async with database.read_transaction() as transaction:
            count = sa.select(sa.func.count()).select_from(HISTORY.metadata.tables["clubs"])
            assert (await transaction.execute(count)).scalar() == 1
