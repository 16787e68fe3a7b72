"""The commands: they turn arguments into commands of the domain, and print rows."""

from uuid import UUID, uuid4

import click
from aftercommit import Application, CommandLine

from loyalty import views
from loyalty.config import Settings
from loyalty.domain.accounts import POINTS
from loyalty.domain.messages import CreditPoints

commands = click.Group()


@commands.command()
@click.argument("user_id", type=click.UUID)
@click.argument("occasion", type=click.Choice([*POINTS]))
@click.option("--credit-id", type=click.UUID, help="The id; repetitions change nothing.")
@click.pass_obj
def credit_points(
    cli: CommandLine[Settings], user_id: UUID, occasion: str, credit_id: UUID | None
) -> None:
    """Credit a user with points."""
    command = CreditPoints(credit_id=credit_id or uuid4(), user_id=user_id, occasion=occasion)
    cli.handle(command)
    click.echo(f"{POINTS[occasion]} points are credited: {command.credit_id}")


@commands.command()
@click.pass_obj
def accounts(cli: CommandLine[Settings]) -> None:
    """List the points of all users."""
    cli.run(cli.load_settings(), _list)


async def _list(application: Application) -> None:
    for row in await views.accounts(application.database):
        click.echo(f"{row.user_id}  {row.points} points")
    count = await views.statistics(application.database)
    click.echo(f"{count['points']} points, {count['rewards']} rewards")
