"""The application: its settings, its parts, its commands, and what handlers are given."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import uuid4

import click
import sqlalchemy as sa
from aftercommit import (
    App,
    Application,
    Codec,
    CommandLine,
    EngineSettings,
    Observer,
    command_line,
    message_types,
    open_application,
)
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.postgresql import PostgreSQLExtension

from examples.checkout import domain
from examples.checkout.domain import Event
from examples.checkout.handlers import HANDLERS
from examples.checkout.payments import PaymentClient, Payments
from examples.checkout.storage import HISTORY, UnitOfWork, start_mappers, stocks

CODEC: Codec[Event] = Codec(source="/checkout", events=message_types(domain, Event))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(EngineSettings):
    """Those of the engine, and what a checkout needs."""

    application: ClassVar[str] = "checkout"

    payments_host: str = "127.0.0.1"
    payments_port: int = 8099
    payments_timeout_seconds: float = 5.0
    deadline_seconds: float = 3600.0


def bootstrap(
    app: App[Any],
    settings: Settings,
    *,
    observers: Sequence[Observer] = (),
    delivers: bool = True,
    payments: Payments | None = None,
) -> AbstractAsyncContextManager[Application]:
    """Open everything the settings ask for, and close it at the end."""
    start_mappers()
    address = settings.payments_host, settings.payments_port
    client = payments or PaymentClient(*address, settings.payments_timeout_seconds)
    return open_application(
        app,
        settings,
        UnitOfWork,
        effect_ports={"payments": client},
        observers=observers,
        delivers=delivers,
    )


@click.command()
@click.argument("article")
@click.argument("pieces", type=int)
@click.option("--card", default="good", help="good, refused, down, hangs or late.")
@click.pass_obj
def place_order(cli: CommandLine[Settings], article: str, pieces: int, card: str) -> None:
    """Order PIECES of ARTICLE."""
    order = domain.PlaceOrder(order_id=uuid4(), article=article, pieces=pieces, card=card)
    cli.handle(order)
    click.echo(f"placed {order.order_id}")


@click.command()
@click.argument("article")
@click.argument("pieces", type=int)
@click.pass_obj
def add_stock(cli: CommandLine[Settings], article: str, pieces: int) -> None:
    """Add an ARTICLE, of which there are so many PIECES."""

    async def add(application: Application) -> None:
        await stock_up(application, article, pieces)

    cli.run(cli.load_settings(), add)


async def stock_up(application: Application, article: str, pieces: int) -> None:
    """Add an article: who buys it for the shop is no part of this example."""
    async with application.database.write_transaction() as transaction:
        row = {"article": article, "free": pieces, "shipped": 0, "version": 1}
        await transaction.execute(sa.insert(stocks), [row])
        await transaction.commit()


APP: App[Settings] = App(
    "checkout",
    summary="Take orders, charge cards, and ship.",
    handlers=HANDLERS,
    codec=CODEC,
    history=HISTORY,
    settings=Settings,
    open=bootstrap,
    database_url="sqlite:///checkout.db",
    extensions=(PostgreSQLExtension(), OperationsExtension()),
    commands={
        "Use": {place_order: "Order PIECES of ARTICLE.", add_stock: "Add an ARTICLE to the shop."}
    },
)
cli = command_line(APP)
