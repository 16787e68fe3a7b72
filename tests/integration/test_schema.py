"""The schema: migrations and tables agree, and a database of another version is refused."""

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, text
from sqlalchemy.exc import IntegrityError

from allocation.adapters import orm, schema, wire
from allocation.adapters.database import Database, open_database
from allocation.adapters.exceptions import DatabaseUnavailable, SchemaOutdated, SchemaTooNew
from allocation.adapters.migrations import history
from allocation.adapters.outbox import SqlAlchemyOutbox
from allocation.adapters.repository import take_note
from allocation.domain.events import OutOfCoupons, UserRegistered
from allocation.service_layer.envelopes import ReceivedMessage
from allocation.service_layer.exceptions import MessageAlreadyHandled
from tests.builders import POLICY, a_command_envelope, a_failure, a_user_id, an_envelope

pytestmark = pytest.mark.anyio


async def execute(database: Database, *statements: str) -> None:
    async with database.writing() as session:
        for statement in statements:
            await session.execute(text(statement))
        await session.commit()


async def start_at_revision(database: Database, revision: str) -> None:
    async with database.writing() as session:
        await session.run_sync(lambda connection: history.upgrade(connection, revision))
        await session.commit()


async def test_migrations_and_tables_agree(empty_url: str) -> None:
    """The migrations are the only source of the schema; the mapping must not drift away."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, orm.metadata))

    async with open_database(empty_url) as database:
        await schema.ensure_schema(database)
        async with database.reading() as session:
            assert await session.run_sync(differences) == []


def test_the_program_knows_its_newest_migration() -> None:
    """It goes by the names of files, so that a start need not import Alembic."""
    scripts = ScriptDirectory.from_config(history.config()).walk_revisions()

    assert [script.revision for script in scripts] == history.revisions()[::-1]


@pytest.mark.parametrize(
    "revision",
    [script.revision for script in ScriptDirectory.from_config(history.config()).walk_revisions()],
)
async def test_every_revision_can_be_upgraded_with_its_rows(empty_url: str, revision: str) -> None:
    """A migration that only works on empty tables would be found by a user."""
    async with open_database(empty_url) as database:
        await start_at_revision(database, revision)
        async with database.writing() as session:
            await session.execute(
                text(
                    "INSERT INTO users (id, name, email, email_key, version)"
                    " VALUES ('7d3c1a526c0e4a558a1b0c9a3f8d2e11', 'Иван', 'a@b.c', 'a@b.c', 1)"
                )
            )
            await session.commit()

        await schema.upgrade_schema(database)
        await schema.ensure_schema(database)

        async with database.reading() as session:
            assert (await session.execute(text("SELECT email FROM users"))).all() == [("a@b.c",)]


OLD_ROWS = (
    "INSERT INTO events (id, source, type, schema_version, subject, time, correlation_id,"
    " causation_id, data, recorded_at)"
    " VALUES ('7d3c1a526c0e4a558a1b0c9a3f8d2e11', '/allocation', 'out_of_coupons', 1, 'NONE',"
    " '2026-01-01 00:00:00', '7d3c1a526c0e4a558a1b0c9a3f8d2e11',"
    " '7d3c1a526c0e4a558a1b0c9a3f8d2e11',"
    ' \'{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11"}\', 0)',
    "INSERT INTO deliveries (event_id, handler, attempts, token, due_at, last_error, parked_at)"
    " VALUES ('7d3c1a526c0e4a558a1b0c9a3f8d2e11', 'parked', 3, 7, 0, 'OSError: down', 1)",
    "INSERT INTO deliveries (event_id, handler, attempts, token, due_at)"
    " VALUES ('7d3c1a526c0e4a558a1b0c9a3f8d2e11', 'pending', 1, 2, 0)",
    "INSERT INTO inbox (source, message_id, received_at) VALUES ('/shop', 'm1', 5)",
    "INSERT INTO inbox (source, message_id, received_at) VALUES ('/shop', 'm2', 6)",
)


async def test_an_upgrade_keeps_what_is_owed_and_what_was_received(empty_url: str) -> None:
    """Nothing is owed anew or forgotten, and no message takes effect a second time."""
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0003")
        await execute(database, *OLD_ROWS)

        await schema.upgrade_schema(database)

        claims = await SqlAlchemyOutbox(database, POLICY).claim(10, ["parked", "pending"])
        assert [(claim.handler, claim.attempt, claim.token) for claim in claims] == [
            ("pending", 2, 3)
        ]
        received = ReceivedMessage(source="/shop", id="m1")
        with pytest.raises(MessageAlreadyHandled):
            async with database.writing() as session:
                await take_note(session, database.clock, a_command_envelope(received))
        async with database.reading() as session:
            parked = text("SELECT token, last_error FROM deliveries WHERE parked_at = 1")
            assert tuple((await session.execute(parked)).one()) == (7, "OSError: down")


async def test_a_process_of_the_version_before_goes_on_beside_new_ones(empty_url: str) -> None:
    """Its statements: what is done is never due to it, and both know what was received."""
    orm.start_mappers()
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0003")
        await execute(database, *OLD_ROWS)
        await schema.upgrade_schema(database)
        outbox = SqlAlchemyOutbox(database, POLICY)
        (claim,) = await outbox.claim(10, ["pending"])
        await outbox.record_failure(a_failure(claim, OSError("down"), retry_in=0))
        (claim,) = await outbox.claim(10, ["pending"])
        await outbox.settle(claim)

        await execute(database, "INSERT INTO inbox VALUES ('/shop', 'm3', 7)")
        with pytest.raises(IntegrityError):
            await execute(database, "INSERT INTO inbox VALUES ('/shop', 'm1', 7)")
        await execute(database, "DELETE FROM inbox WHERE received_at < 6")

        async with database.reading() as session:
            due = "SELECT * FROM deliveries WHERE parked_at IS NULL AND due_at <= 1e10"
            assert (await session.execute(text(due))).all() == []
            known = "SELECT message_id FROM commands ORDER BY message_id"
            assert (await session.execute(text(known))).all() == [("m2",), ("m3",)]
        await execute(database, "DELETE FROM deliveries WHERE handler = 'pending'")


async def test_an_empty_database_is_migrated_once_by_many_at_once(empty_url: str) -> None:
    """The first use may come from several processes."""
    async with (
        open_database(empty_url) as one,
        open_database(empty_url) as other,
        anyio.create_task_group() as group,
    ):
        for database in (one, other, one, other):
            group.start_soon(schema.ensure_schema, database)


async def test_an_upgrade_knows_which_version_the_stored_events_have(empty_url: str) -> None:
    """What was stored before events had versions is still read, and still owed."""
    user_id = a_user_id()
    registered = UserRegistered(user_id=user_id, name="Иван", email="ivan@example.com")
    exhausted = OutOfCoupons(user_id=user_id)
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0001")
        for event in (registered, exhausted):
            row = wire.to_row(an_envelope(event))
            del row["schema_version"], row["handler"], row["traceparent"]
            async with database.writing() as session:
                await session.execute(insert(orm.events).values(recorded_at=0), [row])
                owed = {"event_id": row["id"], "handler": "publish_event_to_kafka"}
                counts = {"attempts": 0, "token": 1, "due_at": 0}
                await session.execute(insert(orm.deliveries), [owed | counts])
                await session.commit()

        await schema.upgrade_schema(database)

        claims = await SqlAlchemyOutbox(database, POLICY).claim(10, ["publish_event_to_kafka"])
        assert [claim.envelope.event for claim in claims] in (
            [registered, exhausted],
            [exhausted, registered],
        )


async def test_an_outdated_schema_is_refused_with_the_command_that_upgrades_it(
    empty_url: str,
) -> None:
    """Upgrading is a decision, with a backup before it."""
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0001")

        with pytest.raises(
            SchemaOutdated, match='revision allocation_0001.*"allocation db upgrade"'
        ):
            await schema.ensure_schema(database)


async def test_a_schema_from_the_future_is_refused(empty_url: str) -> None:
    """This program would not know what it destroys."""
    async with open_database(empty_url) as database:
        await schema.ensure_schema(database)
        await execute(database, "UPDATE alembic_version SET version_num = 'allocation_9999'")

        for use in (schema.ensure_schema, schema.upgrade_schema):
            with pytest.raises(SchemaTooNew, match="allocation_9999"):
                await use(database)


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_a_schema_of_the_time_before_our_revisions_had_names_of_their_own_is_known(
    empty_url: str, revision: str
) -> None:
    """It is upgraded as any other."""
    async with open_database(empty_url) as database:
        await start_at_revision(database, f"allocation_{revision}")
        await execute(database, f"UPDATE alembic_version SET version_num = '{revision}'")

        with pytest.raises(SchemaOutdated, match=f"revision {revision}"):
            await schema.ensure_schema(database)
        await schema.upgrade_schema(database)

        await schema.ensure_schema(database)
        async with database.reading() as session:
            stored = await session.execute(text("SELECT version_num FROM alembic_version"))
            assert stored.all() == [(history.revisions()[-1],)]


@pytest.mark.parametrize("revision", ["0001", "0002", "ae1027a6acf"])
async def test_a_schema_of_something_else_that_uses_alembic_is_left_alone(
    empty_url: str, revision: str
) -> None:
    """Many projects number their revisions; ours must not be mixed with theirs."""
    async with open_database(empty_url) as database:
        await execute(
            database,
            "CREATE TABLE deliveries (parcel TEXT)",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            f"INSERT INTO alembic_version VALUES ('{revision}')",
        )

        for use in (schema.ensure_schema, schema.upgrade_schema):
            with pytest.raises(DatabaseUnavailable, match="tables of something else"):
                await use(database)


async def test_the_tables_of_something_else_are_left_alone(empty_url: str) -> None:
    """A wrong URL must not put our tables into another application's database."""
    async with open_database(empty_url) as database:
        await execute(database, "CREATE TABLE diary (entry TEXT)")

        for use in (schema.ensure_schema, schema.upgrade_schema):
            with pytest.raises(DatabaseUnavailable, match="tables of something else"):
                await use(database)


async def test_a_migration_that_is_cut_off_leaves_an_empty_database(empty_url: str) -> None:
    """All of it is one transaction."""
    async with open_database(empty_url) as database:
        with pytest.raises(ZeroDivisionError):
            async with database.writing() as session:
                await session.run_sync(history.upgrade)
                raise ZeroDivisionError

        async with database.reading() as session:
            assert await session.run_sync(lambda c: inspect(c).get_table_names()) == []
