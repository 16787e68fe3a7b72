"""The schema: migrations and tables agree, and a database of another version is refused."""

from collections.abc import Sequence
from uuid import uuid4

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text

from allocation.adapters import orm, schema_setup
from allocation.adapters.database import Database
from allocation.adapters.exceptions import DatabaseUnavailable, SchemaOutdated, SchemaTooNew
from allocation.adapters.inbox import record_command
from allocation.adapters.migrations import revisions
from allocation.adapters.outbox import new_outbox
from allocation.adapters.transaction import Transaction
from allocation.adapters.user_view import SqlAlchemyUserProjection
from allocation.domain.coupons import Coupon, CouponCode
from allocation.domain.events import UserId
from allocation.service_layer.envelopes import MessageOrigin
from allocation.service_layer.exceptions import MessageAlreadyHandled
from tests.builders import CODEC, POLICY, a_command_envelope, a_user, an_envelope, open_database

pytestmark = pytest.mark.anyio


async def execute(database: Database, *statements: str) -> None:
    async with database.write_transaction() as transaction:
        for statement in statements:
            await transaction.execute(text(statement))
        await transaction.commit()


async def start_at_revision(database: Database, revision: str) -> None:
    async with database.write_transaction() as transaction:
        await transaction.run_sync(lambda connection: revisions.upgrade(connection, revision))
        await transaction.commit()


async def test_migrations_and_tables_agree(empty_url: str) -> None:
    """The migrations are the only source of the schema; the mapping must not drift away."""

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, orm.metadata))

    async with open_database(empty_url) as database:
        await schema_setup.ensure_schema(database)
        async with database.read_transaction() as transaction:
            assert await transaction.run_sync(differences) == []


def test_the_program_knows_its_newest_migration() -> None:
    """It goes by the names of files, so that a start need not import Alembic."""
    scripts = ScriptDirectory.from_config(revisions.config()).walk_revisions()

    assert [script.revision for script in scripts] == revisions.revisions()[::-1]


REVISIONS = revisions.revisions()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_can_be_upgraded_with_its_rows(empty_url: str, revision: str) -> None:
    """A migration that only works on empty tables would be found by an operator."""
    known = uuid4()
    command = {"type": "make_thing", "source": "/shop", "message_id": "m1", "accepted_at": 0.0}
    async with open_database(empty_url) as database:
        await start_at_revision(database, revision)
        async with database.write_transaction() as transaction:
            row = command | {"id": known, "correlation_id": known}
            await transaction.execute(insert(orm.commands), [row])
            await transaction.commit()

        await schema_setup.upgrade_schema(database)
        await schema_setup.ensure_schema(database)

        async with database.read_transaction() as transaction:
            found = await transaction.execute(select(orm.commands.c.message_id))
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
        await start_at_revision(database, "allocation_0001")
        async with database.write_transaction() as transaction:
            known = {"id": received.id, "source": "/shop", "message_id": "m1"}
            rest = {"type": "x", "correlation_id": received.id, "accepted_at": 0}
            await transaction.execute(insert(orm.commands), [known | rest])
            row = CODEC.to_row(envelope)
            await transaction.execute(insert(orm.events).values(recorded_at=0), [row])
            await transaction.execute(
                insert(orm.deliveries),
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


async def test_an_upgrade_lets_the_coupons_that_are_there_be_redeemed(empty_url: str) -> None:
    """Also those that old processes allocate meanwhile."""
    orm.start_mappers()
    user_id, code = "7d3c1a526c0e4a558a1b0c9a3f8d2e11", "'WELCOME-1'"
    insert_coupon = f"INSERT INTO coupons (code, batch_reference, user_id) VALUES ({code}"
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0001")
        await execute(
            database,
            f"INSERT INTO users VALUES ('{user_id}', 'Иван', 'a@b.co', 'a@b.co', 1)",
            "INSERT INTO coupon_batches VALUES ('WELCOME', 2, 1, NULL, 2)",
            f"{insert_coupon}, 'WELCOME', '{user_id}')",
            f"INSERT INTO user_view VALUES ('{user_id}', 'Иван', 'a@b.co', {code})",
        )

        await schema_setup.upgrade_schema(database)

        async with database.write_transaction() as transaction:
            rows = await transaction.execute(text("SELECT coupon_state FROM user_view"))
            assert rows.all() == [("allocated",)]
            for table in ("users", "user_view"):  # an address is one that exists, until told
                marks = await transaction.execute(text(f"SELECT email_undeliverable FROM {table}"))
                assert [bool(mark) for (mark,) in marks] == [False]
            coupon = await transaction.get(Coupon, CouponCode("WELCOME-1"))
            assert coupon is not None
            coupon.redeem(uuid4())
            await transaction.flush()
            await transaction.commit()


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


async def test_an_outdated_schema_is_refused_with_the_command_that_upgrades_it(
    empty_url: str,
) -> None:
    """Upgrading is a decision, with a backup before it."""
    async with open_database(empty_url) as database:
        await start_at_revision(database, "allocation_0001")

        with pytest.raises(
            SchemaOutdated, match='revision allocation_0001.*"allocation db upgrade"'
        ):
            await schema_setup.ensure_schema(database)


async def test_a_schema_from_the_future_is_refused(empty_url: str) -> None:
    """This program would not know what it destroys."""
    async with open_database(empty_url) as database:
        await schema_setup.ensure_schema(database)
        await execute(database, "UPDATE alembic_version SET version_num = 'allocation_9999'")

        for use in (schema_setup.ensure_schema, schema_setup.upgrade_schema):
            with pytest.raises(SchemaTooNew, match="allocation_9999"):
                await use(database)


OTHERS = {  # many projects number their revisions; ours must not be mixed with theirs
    "a table": ["CREATE TABLE diary (entry TEXT)"],
    **{
        f"revision {revision}": [
            "CREATE TABLE deliveries (parcel TEXT)",
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

        for use in (schema_setup.ensure_schema, schema_setup.upgrade_schema):
            with pytest.raises(DatabaseUnavailable, match="tables of something else"):
                await use(database)


async def test_a_migration_that_is_cut_off_leaves_an_empty_database(empty_url: str) -> None:
    """All of it is one transaction."""
    async with open_database(empty_url) as database:
        with pytest.raises(ZeroDivisionError):
            async with database.write_transaction() as transaction:
                await transaction.run_sync(revisions.upgrade)
                raise ZeroDivisionError

        async with database.read_transaction() as transaction:
            assert await transaction.run_sync(lambda c: inspect(c).get_table_names()) == []
