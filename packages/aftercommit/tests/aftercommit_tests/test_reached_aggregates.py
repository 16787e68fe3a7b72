"""Events of aggregates that a handler has reached in another way than by their repository."""

import gc
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from aftercommit import (
    NAMING_CONVENTION,
    App,
    Application,
    Codec,
    EngineSettings,
    Handlers,
    Repository,
    on,
    open_application,
)
from aftercommit.extensions.postgresql import PostgreSQLExtension
from sqlalchemy.orm import registry, relationship

pytestmark = [pytest.mark.anyio, pytest.mark.on("asyncio-sqlite", "asyncio-postgres")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Place an order of a new customer."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Rename the customer of an order."""

    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerRenamed:
    """A customer has another name."""

    name: str


class Aggregate:
    """What records events."""

    recorded: tuple[CustomerRenamed, ...] = ()

    def __init__(self, id_: UUID) -> None:
        self.id, self.version = id_, 0

    @property
    def subject(self) -> str:
        return str(self.id)

    def pull_events(self) -> tuple[CustomerRenamed, ...]:
        found, self.recorded = self.recorded, ()
        return found


class Customer(Aggregate):
    """Somebody with a name."""

    name: str

    def rename(self, name: str) -> None:
        self.name = name
        self.recorded += (CustomerRenamed(name=name),)


class Order(Aggregate):
    """Leads to its customer."""

    def __init__(self, id_: UUID, customer: Customer) -> None:
        super().__init__(id_)
        self.customer = customer


metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
customers = sa.Table(
    "customers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String),
    sa.Column("version", sa.Integer, nullable=False),
)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("customer_id", sa.Uuid, sa.ForeignKey(customers.c.id)),
    sa.Column("version", sa.Integer, nullable=False),
)
mapping = registry(metadata=metadata)
mapping.map_imperatively(Customer, customers, version_id_col=customers.c.version)
mapping.map_imperatively(
    Order,
    orders,
    version_id_col=orders.c.version,
    properties={"customer": relationship(Customer, lazy="selectin")},
)


class UnitOfWork:
    """Has a repository of orders only."""

    def __init__(self, store: Any) -> None:
        self.store, self.last = store, list[Order]()
        self.orders = Repository(store, Order, KeyError)

    async def before_commit(self) -> None:
        for order in self.last:
            order.customer.rename("Olga")


class Settings(EngineSettings):
    """Those of the engine."""

    application = "shop"


async def place(command: Place, uow: UnitOfWork) -> None:
    """Add a customer by the order alone."""
    uow.orders.add(Order(command.order_id, customer := Customer(uuid4())))
    customer.rename("Ivan")


async def rename(command: Rename, uow: UnitOfWork) -> None:
    """Change a customer, write it and forget it; it is changed once more before the commit."""
    order = await uow.orders.get(command.order_id)
    order.customer.rename("Maria")
    await uow.store.flush()
    uow.last.append(order)
    del order
    gc.collect()


def opened(url: str) -> AbstractAsyncContextManager[Application]:
    """Open the application on an empty database."""
    table: Handlers[Any, Any] = Handlers(
        commands=[on(Place, place), on(Rename, rename)], events=[on(CustomerRenamed)]
    )
    app = App(
        "shop",
        summary="Take orders.",
        handlers=table,
        codec=Codec(source="/shop", events=[CustomerRenamed]),
        settings=Settings,
        open=lambda app, settings, **more: open_application(app, settings, UnitOfWork, **more),
        database_url=url,
        extensions=[PostgreSQLExtension()],
    )
    return app.open(app.load({}))


async def test_the_events_of_an_aggregate_are_stored_however_it_was_reached(empty_url: str) -> None:
    """Its change is stored in any case; without the event, nobody would hear of it."""
    order_id = uuid4()
    async with opened(empty_url) as application:
        async with application.database.write_transaction() as transaction:
            await transaction.run_sync(metadata.create_all)
            await transaction.commit()

        placed = await application.bus.handle(Place(order_id=order_id))
        renamed = await application.bus.handle(Rename(order_id=order_id))

        async with application.database.read_transaction() as transaction:
            names = (await transaction.execute(sa.select(customers.c.name))).scalars().all()
    told = [[each.event for each in report.events] for report in (placed, renamed)]
    assert told == [
        [CustomerRenamed(name="Ivan")],
        [CustomerRenamed(name="Maria"), CustomerRenamed(name="Olga")],
    ]
    assert names == ["Olga"]


async def test_an_aggregate_that_is_flushed_and_forgotten_keeps_its_events(empty_url: str) -> None:
    """The session refers to what it has written only weakly."""
    async with (
        opened(empty_url) as application,
        application.database.write_transaction() as transaction,
    ):
        await transaction.run_sync(metadata.create_all)
        order = Order(uuid4(), customer := Customer(uuid4()))
        transaction.add(order)
        customer.rename("Ivan")
        await transaction.flush()
        of_customer = id(customer)
        del order, customer
        gc.collect()

        assert of_customer in map(id, transaction.seen)


async def test_an_aggregate_that_comes_from_another_transaction_keeps_its_events(
    empty_url: str,
) -> None:
    """It is not new to the database, and was not loaded in this transaction."""
    async with opened(empty_url) as application:
        database, order_id = application.database, uuid4()
        async with database.write_transaction() as transaction:
            await transaction.run_sync(metadata.create_all)
            await transaction.commit()
        await application.bus.handle(Place(order_id=order_id))
        async with database.read_transaction() as transaction:
            order = await transaction.get(Order, order_id)
        del transaction
        gc.collect()  # its session, too, to which the aggregate would belong
        async with database.write_transaction() as transaction:
            transaction.add(order)

            assert order in transaction.seen
