"""The commands that every application has: the worker, and those of the database."""

from collections.abc import Collection

import click

from aftercommit.cli.command_context import Cli
from aftercommit.database.schema import check_schema, upgrade_schema, upgrade_script
from aftercommit.process.application import Application, all_names
from aftercommit.process.running_services import Service, Shutdown, run
from aftercommit.process.worker import WORKER_SETTINGS, Worker
from aftercommit.settings import EngineSettings


def worker_service(
    settings: EngineSettings, *, only: Collection[str] = (), until_idle: bool = False
) -> Service:
    """Return the service for `only` these handlers, or all; for `until_idle` see `Worker.run`.

    :raises HandlerNotFound: when it begins, if one of these is no name of a handler
    """

    async def work(application: Application, shutdown: Shutdown) -> None:
        slots, names = settings.worker_concurrency, all_names(application.handlers, *only)
        worker = Worker(application, shutdown, concurrency=slots, only=names)
        await worker.run(until_idle=until_idle)

    return work


@click.command()
@click.option("--until-idle", is_flag=True, help="End when no delivery is pending.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many deliveries run at the same time. Default: 20",
)
@click.option(
    "--only",
    metavar="NAME",
    multiple=True,
    help="Run the deliveries of this handler, and of no other; can be given several times.",
)
@click.pass_obj
def worker(cli: Cli, until_idle: bool, concurrency: int | None, only: Collection[str]) -> None:
    """Run pending deliveries.

    Pending are retries, delayed and replayed deliveries, the work that imports and busy processes
    leave to workers, and the work of crashed processes.

    With --only, other handlers need another worker. The option is for this worker: a process that
    delivers what it commits, and one with running(), run all handlers.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    changed = {"worker_concurrency": concurrency, **WORKER_SETTINGS}
    settings = cli.load_settings(log_level="info", **changed)
    beside = cli.app.parts.services(settings)
    cli.run_services(settings, worker_service(settings, only=only, until_idle=until_idle), *beside)


@click.group()
def db() -> None:
    """Upgrade the database schema."""


@db.command()
@click.option("--sql", is_flag=True, help="Print the SQL statements instead of executing them.")
@click.pass_obj
def upgrade(cli: Cli, sql: bool) -> None:
    """Bring the database schema up to date."""
    settings = cli.load_settings()

    async def work() -> str:
        async with cli.app.open_database(settings) as database:
            if sql:
                return await upgrade_script(database)
            await upgrade_schema(database)
            revisions = " and ".join(await check_schema(database))
            return f"the database schema is up to date (revision {revisions})"

    click.echo(run(work, event_loop=settings.event_loop))
