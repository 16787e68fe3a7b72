"""The commands about the database."""

import click

from allocation.adapters.database import open_database
from allocation.adapters.migrations.history import revisions
from allocation.adapters.schema import upgrade_schema
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.output import say
from allocation.entrypoints.running import run


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.pass_obj
def upgrade(options: Options) -> None:
    """Bring the database schema up to date."""
    settings = set_up(options)

    async def work() -> None:
        async with open_database(settings.database_url) as database:
            await upgrade_schema(database)

    run(work, backend=settings.backend)
    say(f"the database schema is up to date (revision {revisions()[-1]})")
