"""The commands: they turn arguments into commands of the domain, and print rows."""

from uuid import UUID, uuid4

import click
from aftercommit import Application, CommandLine

from shop import views
from shop.config import Settings
from shop.domain.messages import CancelOrder, PlaceOrder

MAX_DIGITS = 6
commands = click.Group()


@commands.command()
@click.argument("email")
@click.argument("articles", nargs=-1, required=True)
@click.option("--order-id", type=click.UUID, help="The id; repetitions change nothing.")
@click.pass_obj
def place_order(
    cli: CommandLine[Settings], email: str, articles: tuple[str, ...], order_id: UUID | None
) -> None:
    """Order some articles.

    ARTICLES are of the form lamp=2 chair=4; without a number it is one piece.
    """
    wanted: dict[str, int] = {}
    for name, _, pieces in (article.partition("=") for article in articles):
        if not (pieces or "1").isdecimal() or len(pieces) > MAX_DIGITS:
            raise click.BadParameter(f"{name} needs a number of at most {MAX_DIGITS} digits")
        wanted[name] = wanted.get(name, 0) + int(pieces or 1)
    command = PlaceOrder(order_id=order_id or uuid4(), email=email, articles=wanted)
    cli.handle(command)
    click.echo(f"order {command.order_id} is placed")


@commands.command()
@click.argument("order_id", type=click.UUID)
@click.pass_obj
def cancel_order(cli: CommandLine[Settings], order_id: UUID) -> None:
    """Cancel an order."""
    cli.handle(CancelOrder(order_id=order_id))


@commands.command()
@click.pass_obj
def orders(cli: CommandLine[Settings]) -> None:
    """List all orders."""
    cli.run(cli.load_settings(), _list)


async def _list(application: Application) -> None:
    for row in await views.orders(application.database):
        state = "cancelled" if row.is_cancelled else f"{row.pieces} pieces"
        click.echo(f"{row.order_id}  {row.email}  {state}")
    count = await views.statistics(application.database)
    click.echo(f"{count['placed']} placed, {count['cancelled']} cancelled")
