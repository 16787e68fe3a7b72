"""The schema: migrations and tables agree, and a database of another version is refused."""

from collections.abc import Sequence
from functools import partial
from uuid import uuid4

import anyio
import pytest
from aftercommit.envelopes import MessageOrigin
from aftercommit.errors import MessageAlreadyHandled
from aftercommit.sql import schema as schema_setup
from aftercommit.sql import tables
from aftercommit.sql.database import Database
from aftercommit.sql.exceptions import (
    DatabaseUnavailable,
    SchemaOfAnother,
    SchemaOutdated,
    SchemaTooNew,
)
from aftercommit.sql.inbox import record_command
from aftercommit.sql.migrations.history import ENGINE, History
from aftercommit.sql.outbox import new_outbox
from aftercommit.sql.transaction import Transaction
from alembic.autogenerate import compare_metadata
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text

from allocation.adapters import orm
from allocation.adapters.migrations import HISTORY
from allocation.adapters.user_view import SqlAlchemyUserProjection
from allocation.domain.events import UserId
from tests.builders import CODEC, POLICY, a_command_envelope, a_user, an_envelope, open_database
from tests.later_schema import LATER, NOW
from tools.migration import comparing

pytestmark = pytest.mark.anyio


async def execute(database: Database, *statements: str) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(text(statement))
        await transaction.commit()


async def outdate(database: Database) -> None:
    """Create the schema; from now on the database is used by the next version."""
    await schema_setup.ensure_schema(database)
    database.histories = LATER


async def start_at_revision(database: Database, revision: str) -> None:
    """Create the schema as it was with that revision of one history, and the first of the other."""
    database.histories = LATER
    async with database.write_transaction() as transaction:
        for history in LATER:
            is_this = revision.startswith(f"{history.name}_")
            wanted = revision if is_this else history.revisions()[0]
            await transaction.run_sync(partial(history.upgrade, revision=wanted))
        await transaction.commit()


async def test_migrations_and_tables_agree(empty_url: str) -> None:
    """The migrations are the only source of the schema; the mapping must not drift away."""

    def differences(connection: Connection) -> list[object]:
        return [
            difference
            for history in (ENGINE, HISTORY)
            for difference in compare_metadata(comparing(connection, history), history.metadata)
        ]

    async with open_database(empty_url) as database:
        await schema_setup.ensure_schema(database)
        async with database.read_transaction() as transaction:
            assert await transaction.run_sync(differences) == []


@pytest.mark.parametrize("history", [ENGINE, HISTORY, *LATER], ids=lambda history: history.newest)
def test_the_program_knows_its_newest_migration(history: History) -> None:
    """It goes by the names of files, so that a start need not import Alembic."""
    scripts = ScriptDirectory.from_config(history.config()).walk_revisions()

    assert [script.revision for script in scripts] == history.revisions()[::-1]


REVISIONS = [revision for history in LATER for revision in history.revisions()]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_can_be_upgraded_with_its_rows(empty_url: str, revision: str) -> None:
    """A migration that only works on empty tables would be found by an operator."""
    known = uuid4()
    command = {"type": "make_thing", "source": "/shop", "message_id": "m1", "accepted_at": 0.0}
    async with open_database(empty_url) as database:
        await start_at_revision(database, revision)
        async with database.write_transaction() as transaction:
            row = command | {"id": known, "correlation_id": known}
            await transaction.execute(insert(tables.commands), [row])
            await transaction.commit()

        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)

        async with database.read_transaction() as transaction:
            found = await transaction.execute(select(tables.commands.c.message_id))
            assert found.scalars().all() == ["m1"]


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_can_be_upgraded_with_its_users(empty_url: str, revision: str) -> None:
    """As above."""
    user = {"id": "7d3c1a526c0e4a558a1b0c9a3f8d2e11", "email": "a@b.c"}
    columns = "(id, name, email, email_key, version)"
    async with open_database(empty_url) as database:
        await start_at_revision(database, revision)
        await execute(
            database,
            f"INSERT INTO users {columns} VALUES ('{user['id']}', 'Иван', 'a@b.c', 'a@b.c', 1)",
        )

        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)

        async with database.read_transaction() as transaction:
            assert (await transaction.execute(text("SELECT email FROM users"))).all() == [
                (user["email"],)
            ]


async def test_an_upgrade_keeps_what_is_pending_and_what_was_received(empty_url: str) -> None:
    """No delivery is repeated or lost, and no message takes effect a second time."""
    envelope = an_envelope()
    received = a_command_envelope(MessageOrigin(source="/shop", id="m1"))
    pending = {"event_id": envelope.id, "attempts": 1, "token": 2, "available_at": 0}
    async with open_database(empty_url) as database:
        await outdate(database)
        async with database.write_transaction() as transaction:
            known = {"id": received.id, "source": "/shop", "message_id": "m1"}
            rest = {"type": "x", "correlation_id": received.id, "accepted_at": 0}
            await transaction.execute(insert(tables.commands), [known | rest])
            row = CODEC.to_row(envelope)
            await transaction.execute(insert(tables.events).values(recorded_at=0), [row])
            await transaction.execute(
                insert(tables.deliveries),
                [
                    pending | {"handler": "parked", "parked_at": 1},
                    pending | {"handler": "pending", "parked_at": None},
                ],
            )
            await transaction.commit()

        await schema_setup.upgrade_schema(database)

        claims = await new_outbox(database, POLICY).claim(10, ["parked", "pending"])
        assert [(claim.handler, claim.attempt, claim.token) for claim in claims] == [
            ("pending", 2, 3)
        ]
        with pytest.raises(MessageAlreadyHandled):
            async with database.write_transaction() as transaction:
                await record_command(transaction, database.clock, received)


async def test_an_upgrade_fills_in_what_it_adds_and_lets_old_processes_go_on(
    empty_url: str,
) -> None:
    """Also the rows that old processes write meanwhile are such as the next version needs."""
    insert_user = "INSERT INTO users (id, name, email, email_key, version) VALUES"
    async with open_database(empty_url) as database:
        await outdate(database)
        await execute(database, f"{insert_user} ('{uuid4()}', 'Иван', 'a@b.c', 'a@b.c', 1)")

        await schema_setup.upgrade_schema(database)

        await execute(
            database,
            f"{insert_user} ('{uuid4()}', 'Мария', 'b@b.c', 'b@b.c', 1)",
        )
        async with database.read_transaction() as transaction:
            rows = text("SELECT name, nickname, level FROM users ORDER BY email")
            assert [tuple(row) for row in await transaction.execute(rows)] == [
                ("Иван", "Иван", 1),
                ("Мария", None, 1),
            ]


async def test_a_refresh_resets_nothing_that_only_a_newer_version_knows(empty_url: str) -> None:
    """While two versions run, a column that one of them has added is not the other's to empty."""
    orm.start_mappers()
    row = "SELECT name, colour FROM user_view"
    async with open_database(empty_url) as database:
        await schema_setup.ensure_schema(database)
        await execute(database, "ALTER TABLE user_view ADD COLUMN colour VARCHAR")
        user = a_user(name="Иван")
        async with database.write_transaction() as transaction:
            transaction.add(user)
            await transaction.flush()
            await refresh(transaction, user.id)
            await transaction.execute(text("UPDATE user_view SET colour = 'red', name = '?'"))
            await refresh(transaction, user.id)
            assert tuple((await transaction.execute(text(row))).one()) == ("Иван", "red")


async def refresh(transaction: Transaction, user_id: UserId) -> None:
    view = SqlAlchemyUserProjection(transaction)
    await view.refresh(user_id)
    await view.write()


async def test_an_empty_database_is_migrated_once_by_many_at_once(empty_url: str) -> None:
    """The first use may come from several processes."""
    async with (
        open_database(empty_url) as one,
        open_database(empty_url) as other,
        anyio.create_task_group() as group,
    ):
        for database in (one, other, one, other):
            group.start_soon(schema_setup.ensure_schema, database)


@pytest.mark.parametrize("behind", [0, 1])
async def test_an_outdated_schema_is_refused_with_the_command_that_upgrades_it(
    empty_url: str, behind: int
) -> None:
    """Upgrading is a decision, with a backup before it; either history may be the older one."""
    async with open_database(empty_url) as database:
        await outdate(database)
        async with database.write_transaction() as transaction:
            await transaction.run_sync(LATER[1 - behind].upgrade)
            await transaction.commit()

        name = LATER[behind].name
        problem = rf'of {name} is outdated \(revision {name}_.*"allocation db upgrade"'
        with pytest.raises(SchemaOutdated, match=problem):
            await schema_setup.ensure_schema(database)

        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)


@pytest.mark.parametrize("history", LATER, ids=lambda history: history.name)
async def test_a_schema_from_the_future_is_refused(empty_url: str, history: History) -> None:
    """This program would not know what it destroys."""
    too_new = f"{history.name}_9999"
    async with open_database(empty_url) as database:
        await schema_setup.ensure_schema(database)
        await execute(database, f"UPDATE {history.version_table} SET version_num = '{too_new}'")

        for use in (schema_setup.ensure_schema, schema_setup.upgrade_schema):
            with pytest.raises(SchemaTooNew, match=f"{too_new}.* version of {history.name};"):
                await use(database)


async def test_what_no_upgrade_would_help_is_said_at_once(empty_url: str) -> None:
    """Or the start says "db upgrade", and that says something else."""
    async with open_database(empty_url) as database:
        await execute(
            database,
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('allocation_9999')",
        )

        for use in (schema_setup.ensure_schema, schema_setup.upgrade_schema):
            with pytest.raises(SchemaTooNew, match="allocation_9999"):
                await use(database)


OTHERS = {  # many projects number their revisions; ours must not be mixed with theirs
    **{
        f"a table {name}": [f"CREATE TABLE {name} (x TEXT)"]
        for name in ("users", "aftercommit_events")
    },
    **{
        f"revision {revision}": [
            "CREATE TABLE parcels (parcel TEXT)",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            f"INSERT INTO alembic_version VALUES ('{revision}')",
        ]
        for revision in ("0001", "0002", "ae1027a6acf")
    },
}


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
async def test_the_tables_of_something_else_are_left_alone(
    empty_url: str, statements: Sequence[str]
) -> None:
    """A wrong URL must not put our tables into another application's database."""
    async with open_database(empty_url) as database:
        await execute(database, *statements)

        with pytest.raises((DatabaseUnavailable, SchemaOutdated)):
            await schema_setup.ensure_schema(database)
        with pytest.raises(DatabaseUnavailable, match="tables of something else"):
            await schema_setup.upgrade_schema(database)
        assert len(await tables_in(database)) <= 2


async def test_beside_other_tables_the_schema_is_only_created_on_request(empty_url: str) -> None:
    """The URL may be wrong; or an application that has its tables already begins with this."""
    async with open_database(empty_url, history=None) as database:
        await execute(database, "CREATE TABLE diary (entry TEXT)")

        advice = 'of aftercommit is missing beside other tables; run "allocation db upgrade"'
        with pytest.raises(SchemaOutdated, match=advice):
            await schema_setup.ensure_schema(database)
        assert await tables_in(database) == ["diary"]
        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)

        assert {"diary", "aftercommit_deliveries"} < {*await tables_in(database)}


async def test_an_application_with_migrations_of_its_own_is_left_to_them(empty_url: str) -> None:
    """Its version table has Alembic's default name, and revisions that nobody else knows."""
    theirs = OTHERS["revision 0001"]
    async with open_database(empty_url, history=None) as database:
        await execute(database, *theirs)
        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)

        async with database.read_transaction() as transaction:
            stored = await transaction.execute(text("SELECT version_num FROM alembic_version"))
            assert stored.scalars().all() == ["0001"]


async def test_a_schema_belongs_to_the_application_that_was_there_first(empty_url: str) -> None:
    """Or two would claim, list and delete each other's events."""
    async with open_database(empty_url, application="shop", history=None) as database:
        await schema_setup.ensure_schema(database)
        await schema_setup.ensure_schema(database)
        before = await tables_in(database)
    async with open_database(empty_url) as database:
        for use in (schema_setup.ensure_schema, schema_setup.upgrade_schema):
            problem = "belongs to the application shop; give allocation another database, or"
            with pytest.raises(SchemaOfAnother, match=problem):
                await use(database)
        assert await tables_in(database) == before


async def test_of_two_applications_that_begin_at_once_one_gets_the_schema(empty_url: str) -> None:
    """Both have found nothing at first."""
    refused = []

    async def begin(name: str) -> None:
        async with open_database(empty_url, application=name, history=None) as database:
            try:
                await schema_setup.upgrade_schema(database)
            except SchemaOfAnother:
                refused.append(name)

    async with anyio.create_task_group() as group:
        for name in ("shop", "library"):
            group.start_soon(begin, name)

    assert len(refused) == 1


async def test_a_migration_that_is_cut_off_leaves_an_empty_database(empty_url: str) -> None:
    """Both histories are one transaction."""
    async with open_database(empty_url) as database:
        with pytest.raises(ZeroDivisionError):
            async with database.write_transaction() as transaction:
                for history in database.histories:
                    await transaction.run_sync(history.upgrade)
                raise ZeroDivisionError

        assert await tables_in(database) == []


async def test_if_one_history_cannot_be_upgraded_the_other_is_not(empty_url: str) -> None:
    """A program finds both as it needs them, or both as they were."""
    async with open_database(empty_url) as database:
        await outdate(database)
        await execute(database, "CREATE TABLE nicknames (in_the_way TEXT)")

        with pytest.raises(Exception, match="nicknames"):
            await schema_setup.upgrade_schema(database)

        async with database.read_transaction() as transaction:
            stored = [await transaction.run_sync(each.stored_revision) for each in LATER]
        assert stored == [NOW[each.name] for each in LATER]


async def tables_in(database: Database) -> list[str]:
    async with database.read_transaction() as transaction:
        return await transaction.run_sync(lambda c: inspect(c).get_table_names())
