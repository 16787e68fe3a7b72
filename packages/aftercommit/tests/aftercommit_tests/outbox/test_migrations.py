"""The tables of an outbox in the migrations of its application: as scripts, too, and back again."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from aftercommit import InvalidValue
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import make_url

from aftercommit_tests.inside.errors import DeliveriesOutstanding
from aftercommit_tests.inside.stored import ENGINE, tables

ENV = """
from aftercommit.alembic import not_ours
from alembic import context
from sqlalchemy import Column, Integer, MetaData, Table, create_engine

tables = MetaData(schema=context.config.attributes.get("schema"))
Table("orders", tables, Column("id", Integer, primary_key=True))
url = context.config.attributes["url"]
options = {"target_metadata": tables, "include_name": not_ours}
options |= context.config.attributes["options"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            context.configure(connection=connection, **options)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()
"""
OURS = """
from aftercommit.alembic import downgrade_tables, upgrade_tables
from alembic import op
import sqlalchemy as sa

revision, down_revision = "{revision}", {before}


def upgrade():
    op.create_table("before_{revision}", sa.Column("id", sa.Integer()))
    upgrade_tables(op.get_bind(){arguments})
    op.create_table("after_{revision}", sa.Column("id", sa.Integer()))


def downgrade():
    downgrade_tables(op.get_bind())
    op.drop_table("after_{revision}")
    op.drop_table("before_{revision}")
"""


class Migrations:
    """The migrations of an application, two of which upgrade our tables."""

    def __init__(self, folder: Path, url: str) -> None:
        kind = make_url(url).get_backend_name()
        driver = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}[kind]
        self.url = make_url(url).set(drivername=driver)
        self.is_sqlite, self.folder = kind == "sqlite", folder / "migrations"
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENV)
        self.add("0001")
        self.add("0002")

    def add(self, revision: str, arguments: str = "") -> None:
        before = repr(f"{int(revision) - 1:04}") if revision != "0001" else None
        text = OURS.format(revision=revision, before=before, arguments=arguments)
        (self.folder / "versions" / f"{revision}.py").write_text(text)

    def run(self, name: str, *arguments: Any, schema: str | None = None, **options: Any) -> str:
        """Run a command of Alembic, and return what it prints to."""
        output = io.StringIO()
        config = Config(output_buffer=output)
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        alembic = options.pop("options", {})
        config.attributes |= {"url": self.url, "schema": schema, "options": alembic}
        getattr(command, name)(config, *arguments, **options)
        return output.getvalue()

    def script(self, name: str, revisions: str) -> str:
        return self.run(name, revisions, sql=True)

    @contextmanager
    def connection(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self.url)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def apply(self, script: str) -> None:
        """Run a script, as the programs of the databases do it."""
        with self.connection() as connection:
            driver: Any = connection.connection.driver_connection
            if self.is_sqlite:
                driver.executescript(script)
            else:  # it begins and commits itself
                driver.autocommit = True
                driver.execute(script, prepare=False)

    def schema(self) -> dict[str, Any]:
        """Return our tables as they are: columns, indexes and constraints."""
        with self.connection() as connection:
            inspector = sa.inspect(connection)
            ours = [each for each in inspector.get_table_names() if each.startswith("aftercommit_")]
            return {
                name: (
                    [(each["name"], str(each["type"])) for each in inspector.get_columns(name)],
                    sorted(str(each["name"]) for each in inspector.get_indexes(name)),
                    inspector.get_pk_constraint(name)["name"],
                )
                for name in ours
            }

    def revision(self) -> str:
        with self.connection() as connection:
            return str(connection.scalar(sa.text("SELECT version_num FROM aftercommit_version")))

    def deliver(self, *, done: bool) -> None:
        """Store a delivery, or have it done."""
        event = {
            **{"id": uuid4(), "source": "/shop", "type": "placed", "subject": "7", "data": "{}"},
            **{"time": sa.func.now(), "correlation_id": uuid4(), "causation_id": uuid4()},
            "recorded_at": 0.0,
        }
        with self.connection() as connection:
            if done:
                connection.execute(sa.update(tables.deliveries).values(completed_at=1.0))
                return
            connection.execute(sa.insert(tables.events).values(event))
            row = {
                "event_id": event["id"],
                "handler": "confirm",
                "attempts": 0,
                "token": 0,
                "schema_version": 1,
            }
            connection.execute(sa.insert(tables.deliveries).values(**row, available_at=0.0))


@pytest.fixture
def migrations(tmp_path: Path, empty_url: str) -> Migrations:
    """On an empty database of each kind."""
    return Migrations(tmp_path, empty_url)


def test_a_script_makes_the_tables_that_a_migration_makes(
    migrations: Migrations, tmp_path: Path
) -> None:
    """In the order of the migration, and once, although two migrations of the script need them."""
    script = migrations.script("upgrade", "head")
    migrations.apply(script)
    made, revision = migrations.schema(), migrations.revision()
    if migrations.is_sqlite:
        Path(str(migrations.url.database)).unlink()
    else:
        migrations.apply("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    migrations.run("upgrade", "head")

    assert made == migrations.schema()
    assert revision == migrations.revision()
    assert script.count("CREATE TABLE aftercommit_events") == 1
    places = [script.index(each) for each in ("before_0001", "aftercommit_events", "after_0001")]
    assert places == sorted(places)


@pytest.mark.usefixtures("next_engine")
def test_a_script_upgrades_tables_of_a_revision(migrations: Migrations) -> None:
    """Which has to be said: nobody can look. Without it, the script fails and changes nothing."""
    migrations.run("upgrade", "0001")
    newest = migrations.revision()
    migrations.add("0003", f', since="{newest}"')
    migrations.add("0004", f', since="{ENGINE.revisions()[0]}"')
    migrations.add("0005", ', since="something"')

    assert "aftercommit" not in migrations.script("upgrade", "0002:0003")
    later = migrations.script("upgrade", "0003:0004")
    assert "aftercommit_decisions" not in later
    assert "ADD COLUMN weight" in later
    with pytest.raises(InvalidValue, match="since is none of the revisions aftercommit_1000, "):
        migrations.script("upgrade", "0004:0005")


def test_tables_with_deliveries_that_are_outstanding_are_not_dropped(
    migrations: Migrations,
) -> None:
    """What was promised would be forgotten. What is done, is dropped with its history."""
    migrations.run("upgrade", "0001")
    migrations.deliver(done=False)
    before = migrations.schema()

    with pytest.raises(DeliveriesOutstanding, match="outstanding, 1 of confirm: let a worker run"):
        migrations.run("downgrade", "base")
    assert migrations.schema() == before
    migrations.deliver(done=True)
    migrations.run("downgrade", "base")

    assert migrations.schema() == {}
    migrations.run("upgrade", "0001")
    assert migrations.schema() == before


def test_a_script_does_not_drop_them_either(migrations: Migrations) -> None:
    """On PostgreSQL; on SQLite a script cannot look, so there is none."""
    migrations.run("upgrade", "0001")
    if migrations.is_sqlite:
        with pytest.raises(InvalidValue, match="run it without --sql"):
            migrations.script("downgrade", "0001:base")
        return
    migrations.deliver(done=False)
    script = migrations.script("downgrade", "0001:base")

    with pytest.raises(Exception, match="deliveries are outstanding"):
        migrations.apply(script)
    assert migrations.schema()
    migrations.deliver(done=True)
    migrations.apply(script)

    assert migrations.schema() == {}


def ensure_left_alone(migrations: Migrations, schema: str | None) -> None:
    """Compare a database that has our tables with the models of an application, in all schemas."""
    migrations.run("upgrade", "head")
    where, options = f"{schema}." if schema else "", {"include_schemas": True}
    with migrations.connection() as connection:
        for number in ("0001", "0002"):
            for place in ("before", "after"):
                connection.execute(sa.text(f"DROP TABLE {place}_{number}"))
        if schema:
            connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
            connection.execute(sa.text(f"CREATE TABLE {where}aftercommit_events (id INTEGER)"))
        connection.execute(sa.text(f"CREATE TABLE {where}orders (id INTEGER NOT NULL PRIMARY KEY)"))

    migrations.run("check", schema=schema, options=options)

    with migrations.connection() as connection:
        connection.execute(sa.text("CREATE TABLE of_nobody (id INTEGER)"))
    with pytest.raises(CommandError, match="remove_table"):
        migrations.run("check", schema=schema, options=options)


def test_autogenerate_with_all_schemas_leaves_our_tables_alone(migrations: Migrations) -> None:
    """As it does without that option."""
    ensure_left_alone(migrations, None)


def test_autogenerate_leaves_the_tables_of_other_outboxes_alone(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    """In whichever schema they are."""
    ensure_left_alone(Migrations(tmp_path, empty_postgres_url), "tenant")
