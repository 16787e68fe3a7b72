"""The commands of an installation: its worker, and its database."""

import click

from allocation.adapters.database import open_database
from allocation.adapters.migrations.history import revisions
from allocation.adapters.schema import upgrade_schema
from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.output import say
from allocation.entrypoints.running import run, serve
from allocation.entrypoints.worker import working


@click.command()
@click.option("--until-idle", is_flag=True, help="End when no delivery is pending.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many deliveries to have in hand at a time. Default: 20",
)
@click.pass_obj
def worker(options: Options, until_idle: bool, concurrency: int | None) -> None:
    """Do what others left undone: retries, and the work of processes that died.

    SIGTERM or Ctrl-C lets work in hand finish, a second one ends at once; nothing is lost.
    """
    settings = set_up({**options, "concurrency": concurrency}, log_level="info")
    serve(settings, working(settings, until_idle=until_idle))


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
