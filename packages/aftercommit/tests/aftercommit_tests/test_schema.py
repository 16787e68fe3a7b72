"""The schema: created once, upgraded with all that is in it, and refused if it is not ours."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from aftercommit import Codec, Database, History, MessageOrigin, ensure_schema, new_delivery_store
from aftercommit.alembic import upgrade_tables
from aftercommit.errors import MessageAlreadyHandled, WiringError
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, String, inspect, text
from sqlalchemy.exc import IntegrityError

from aftercommit_tests.builders import POLICY, a_command_work
from aftercommit_tests.inside.errors import (
    DatabaseUnavailable,
    SchemaOfAnother,
    SchemaOutdated,
    SchemaTooNew,
    SchemaTooOld,
)
from aftercommit_tests.inside.operations import is_outdated
from aftercommit_tests.inside.stored import (
    ENGINE,
    PREFIX,
    check_schema,
    record_command,
    upgrade_schema,
)
from aftercommit_tests.later_schema import LATER, NOW
from aftercommit_tests.things.app import open_things_database as open_database
from aftercommit_tests.things.storage import HISTORY

pytestmark = pytest.mark.anyio

Begin = Callable[[Database], Awaitable[None]]


@pytest.fixture
async def database(empty_url: str) -> AsyncIterator[Database]:
    """A new database of each kind, without a schema."""
    async with open_database(empty_url) as database:
        yield database


async def execute(database: Database, *statements: str) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(text(statement))
        await transaction.commit()


async def query(database: Database, statement: str) -> list[tuple[object, ...]]:
    async with database.read_transaction() as transaction:
        return [tuple(row) for row in await transaction.execute(text(statement))]


async def tables_in(database: Database) -> list[str]:
    async with database.read_transaction() as transaction:
        return await transaction.run_sync(lambda c: inspect(c).get_table_names())


async def outdate(database: Database) -> None:
    """Create the schema; from now on the database is used by the next version."""
    await ensure_schema(database)
    database.histories = LATER


def make(name: str) -> str:
    """Return the statement by which the present version stores a thing."""
    return f"INSERT INTO things (id, name, version) VALUES ('{uuid4().hex}', '{name}', 1)"


async def test_migrations_and_tables_agree(database: Database) -> None:
    """The migrations are the only source of the schema; the tables must not drift away."""

    def compare(context: object, known: object, column: Column[Any], *_: object) -> bool | None:
        return False if column.name == "position" else None  # of one database only

    def differences(connection: Connection) -> object:
        options = {
            "compare_server_default": compare,
            "include_name": lambda name, kind, _: kind != "table" or name.startswith(PREFIX),
            "version_table": ENGINE.version_table,
        }
        comparing = MigrationContext.configure(connection, opts=options)
        return compare_metadata(comparing, ENGINE.metadata)

    await ensure_schema(database)
    async with database.read_transaction() as transaction:
        assert await transaction.run_sync(differences) == []


@pytest.mark.parametrize("history", [ENGINE, *LATER], ids=lambda history: history.newest)
def test_the_program_knows_its_newest_migration(history: History) -> None:
    """It goes by the names of files, so that a start need not import Alembic."""
    scripts = ScriptDirectory.from_config(history.config()).walk_revisions()

    assert [script.revision for script in scripts] == history.revisions()[::-1]


REVISIONS = [revision for history in LATER for revision in history.revisions()]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_can_be_upgraded_with_its_rows(
    database: Database, revision: str
) -> None:
    """A migration that only works on empty tables would be found by an operator.

    No message that was received takes effect a second time.
    """
    database.histories = LATER
    async with database.write_transaction() as transaction:
        for history in LATER:  # one is at this revision, and the other one at its first
            is_this = revision.startswith(f"{history.name}_")
            wanted = revision if is_this else history.revisions()[0]
            await transaction.run_sync(partial(history.upgrade, revision=wanted))
        received = a_command_work(MessageOrigin(source="/shop", id="m1"))
        await record_command(transaction, database.clock, received)
        await transaction.commit()
    await execute(database, make("lamp"))

    await upgrade_schema(database)
    await ensure_schema(database)

    assert await query(database, "SELECT name FROM things") == [("lamp",)]
    with pytest.raises(MessageAlreadyHandled):
        async with database.write_transaction() as transaction:
            await record_command(transaction, database.clock, received)


async def test_a_database_is_migrated_once_by_many_at_once(empty_url: str) -> None:
    """The first use may come from several processes, and an upgrade, too."""
    async with open_database(empty_url) as one, open_database(empty_url) as other:
        for use, histories in ((ensure_schema, one.histories), (upgrade_schema, LATER)):
            one.histories = other.histories = histories
            async with anyio.create_task_group() as group:
                for database in (one, other, one, other):
                    group.start_soon(use, database)

        await ensure_schema(other)


@pytest.mark.parametrize("behind", [0, 1])
async def test_an_outdated_schema_is_refused_with_the_command_that_upgrades_it(
    database: Database, behind: int
) -> None:
    """Upgrading is a decision, with a backup before it; either history may be the older one."""
    await outdate(database)
    async with database.write_transaction() as transaction:
        await transaction.run_sync(LATER[1 - behind].upgrade)
        await transaction.commit()

    name = LATER[behind].name
    problem = rf'of {name} is outdated \(revision {name}_.*"things db upgrade"'
    with pytest.raises(SchemaOutdated, match=problem):
        await ensure_schema(database)

    await upgrade_schema(database)
    await ensure_schema(database)


NUMBER = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
TOO_NEW = {
    "of the engine": ["UPDATE aftercommit_version SET version_num = 'aftercommit_9999'"],
    "of the application": ["UPDATE alembic_version SET version_num = 'things_9999'"],
    # or the start would say "db upgrade", and that would say something else
    "of the application alone": [NUMBER, "INSERT INTO alembic_version VALUES ('things_9999')"],
}


@pytest.mark.parametrize("statements", TOO_NEW.values(), ids=TOO_NEW)
async def test_a_schema_from_the_future_is_refused(
    database: Database, statements: Sequence[str]
) -> None:
    """This program would not know what it destroys."""
    if NUMBER not in statements:
        await ensure_schema(database)
    await execute(database, *statements)

    for use in (ensure_schema, upgrade_schema):
        with pytest.raises(SchemaTooNew, match=r"(\w+)_9999.* version of \1;"):
            await use(database)


@pytest.mark.parametrize("revision", ["aftercommit_0001", "aftercommit_0003", "aftercommit_000302"])
async def test_a_schema_of_a_draft_is_refused(database: Database, revision: str) -> None:
    """Its tables lack what this program needs, and no migration begins with them."""
    await ensure_schema(database)
    await execute(database, f"UPDATE aftercommit_version SET version_num = '{revision}'")

    for use in (ensure_schema, upgrade_schema, check_schema):
        with pytest.raises(SchemaTooOld, match=f"{revision}.*begin with a new database"):
            await use(database)
    async with database.read_transaction() as transaction:
        assert await transaction.run_sync(partial(is_outdated, ENGINE))


@pytest.fixture(params=[ENGINE, HISTORY], ids=lambda history: history.name)
def next_one(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    """A history with one more revision, which the version before can live with."""
    history: History = request.param
    newest = history.newest
    (folder := tmp_path / "later").mkdir()
    revision = f'revision, down_revision = "{newest}01", "{newest}"\n'
    (folder / f"{newest}01_it.py").write_text(f"{revision}def upgrade() -> None: ...\n")
    return replace(history, folders=[*history.folders, folder])


RARE = {ENGINE.name: ("aftercommit_decisions", "reason"), HISTORY.name: ("lines", "text")}


async def test_a_later_schema_that_says_so_is_no_obstacle(
    database: Database, next_one: History
) -> None:
    """So a fix can be rolled back, and a process that ended meanwhile starts again.

    Its author knows whether this version can do without a column.
    """
    history = ENGINE if next_one.name == ENGINE.name else HISTORY
    await ensure_schema(database)
    async with database.write_transaction() as transaction:
        await transaction.run_sync(next_one.upgrade)
        await transaction.commit()
    table, column = RARE[next_one.name]
    await execute(database, f"ALTER TABLE {table} RENAME COLUMN {column} TO another")

    for use in (ensure_schema, upgrade_schema):
        await use(database)
    async with database.read_transaction() as transaction:
        assert not await transaction.run_sync(partial(is_outdated, history))

    assert next_one.newest in await check_schema(database)


async def test_a_column_that_no_migration_has_made_is_named_at_the_start(
    database: Database,
) -> None:
    """Also at the first one; each statement that names it would fail later, one by one."""
    known = MetaData()
    for table in HISTORY.metadata.sorted_tables:
        table.to_metadata(known)
    known.tables["things"].append_column(Column("colour", String))
    database.histories = ENGINE, replace(HISTORY, metadata=known)

    for _ in range(2):
        with pytest.raises(WiringError, match="no migration has made; write one for: .*colour"):
            await ensure_schema(database)


OTHERS = {  # many projects number their revisions; ours must not be mixed with theirs
    **{
        f"a table {name}": [f"CREATE TABLE {name} (x TEXT)"]
        for name in ("things", "aftercommit_events")
    },
    **{
        f"revision {revision}": [
            "CREATE TABLE parcels (parcel TEXT)",
            NUMBER,
            f"INSERT INTO alembic_version VALUES ('{revision}')",
        ]
        for revision in ("0001", "0002", "ae1027a6acf")
    },
}


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
async def test_the_tables_of_something_else_are_left_alone(
    database: Database, statements: Sequence[str]
) -> None:
    """A wrong URL must not put our tables into another application's database."""
    await execute(database, *statements)

    with pytest.raises((DatabaseUnavailable, SchemaOutdated)):
        await ensure_schema(database)
    with pytest.raises(DatabaseUnavailable, match="tables of another program"):
        await upgrade_schema(database)
    assert len(await tables_in(database)) <= 2


async def test_a_test_suite_that_empties_all_tables_is_told_which_to_leave_out(
    database: Database,
) -> None:
    """Not that the tables belong to another program; nobody would find out which."""
    await ensure_schema(database)
    await execute(database, f"DELETE FROM {ENGINE.version_table}")

    for use in (ensure_schema, upgrade_schema, check_schema):
        with pytest.raises(DatabaseUnavailable, match="was emptied: .*begins with aftercommit_"):
            await use(database)


async def test_beside_other_tables_the_schema_is_only_created_on_request(empty_url: str) -> None:
    """The URL may be wrong; or an application that has its tables already begins with this.

    If it has migrations of its own, their version table has Alembic's default name.
    """
    async with open_database(empty_url, history=None) as database:
        await execute(database, *OTHERS["revision 0001"])

        advice = 'of aftercommit is missing beside other tables; run "things db upgrade"'
        with pytest.raises(SchemaOutdated, match=advice):
            await ensure_schema(database)
        assert {*await tables_in(database)} == {"parcels", "alembic_version"}
        await upgrade_schema(database)
        await ensure_schema(database)

        assert {"parcels", "aftercommit_deliveries"} < {*await tables_in(database)}
        assert await query(database, "SELECT version_num FROM alembic_version") == [("0001",)]


async def test_a_schema_belongs_to_the_application_that_was_there_first(empty_url: str) -> None:
    """Or two would claim, list and delete each other's events."""
    async with open_database(empty_url, application="shop", history=None) as database:
        await ensure_schema(database)
        await ensure_schema(database)
        before = await tables_in(database)
    async with open_database(empty_url) as database:
        for use in (ensure_schema, upgrade_schema):
            problem = "belongs to the application shop; give things another database, or"
            with pytest.raises(SchemaOfAnother, match=problem):
                await use(database)
        assert await tables_in(database) == before


async def refused_of(url: str, names: Sequence[str], begin: Begin) -> list[str]:
    """Let applications begin at once, and return those that do not get the schema."""
    refused = []

    async def try_to_begin(name: str) -> None:
        async with open_database(url, application=name, history=None) as database:
            try:
                await begin(database)
            except SchemaOfAnother:
                refused.append(name)

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(try_to_begin, name)
    return refused


async def test_of_two_applications_that_begin_at_once_one_gets_the_schema(empty_url: str) -> None:
    """Both have found nothing at first."""
    refused = await refused_of(empty_url, ["shop", "library"], upgrade_schema)

    assert len(refused) == 1


async def test_tables_that_a_migration_has_made_belong_to_the_application_that_starts_first(
    empty_url: str,
) -> None:
    """The migration does not know for whom it makes them; two would run each other's deliveries."""
    async with open_database(empty_url, history=None) as database:
        async with database.write_transaction() as transaction:
            await transaction.run_sync(upgrade_tables)
            await transaction.commit()
        refused = await refused_of(empty_url, ["shop", "bank"] * 2, ensure_schema)

        [(owner,)] = await query(database, "SELECT name FROM aftercommit_application")
    assert refused == [{"shop": "bank", "bank": "shop"}[str(owner)]] * 2


async def test_a_schema_cannot_have_two_owners(database: Database) -> None:
    """Whatever program stores the second one, also of a version before."""
    await ensure_schema(database)

    with pytest.raises(IntegrityError):
        await execute(database, "INSERT INTO aftercommit_application (name) VALUES ('bank')")


async def test_if_one_history_cannot_be_upgraded_the_other_is_not(database: Database) -> None:
    """A program finds both as it needs them, or both as they were."""
    await outdate(database)
    await execute(database, "CREATE TABLE nicknames (in_the_way TEXT)")

    with pytest.raises(Exception, match="nicknames"):
        await upgrade_schema(database)

    async with database.read_transaction() as transaction:
        stored = [await transaction.run_sync(each.stored_revision) for each in LATER]
    assert stored == [NOW[each.name] for each in LATER]


async def test_a_service_without_migrations_and_events_starts(
    empty_url: str, tmp_path: Path
) -> None:
    """So begins one whose example was deleted; a database of the example is another version's."""
    history = History(HISTORY.name, MetaData(), [tmp_path])
    codec = Codec[object](source="/things", events=[])
    async with open_database(empty_url, codec=codec, history=history) as database:
        await ensure_schema(database)
        await upgrade_schema(database)
        assert await check_schema(database) == [ENGINE.newest]
        assert await new_delivery_store(database, POLICY).claim(10, {"greet"}) == []
        await execute(database, "INSERT INTO alembic_version VALUES ('things_0001')")
        with pytest.raises(SchemaTooNew, match="things_0001"):
            await check_schema(database)
