"""The commands of the database."""

import click

from aftercommit.process.app import Cli
from aftercommit.process.runtime import run
from aftercommit.sql.schema import check_schema, upgrade_schema


@click.group()
def db() -> None:
    """Upgrade the database schema."""


@db.command()
@click.pass_obj
def upgrade(cli: Cli) -> None:
    """Bring the database schema up to date."""
    settings = cli.load_settings()

    async def work() -> list[str]:
        async with cli.app.open_database(settings) as database:
            await upgrade_schema(database)
            return await check_schema(database, columns=True)

    revisions = run(work, event_loop=settings.event_loop)
    click.echo(f"the database schema is up to date (revision {' and '.join(revisions)})")
