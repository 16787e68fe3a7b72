"""The command of the worker."""

import click

from aftercommit.process.app import Cli
from aftercommit.process.worker import WORKER_SETTINGS, worker_service


@click.command()
@click.option("--until-idle", is_flag=True, help="End when no delivery is pending.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many deliveries to run at a time. Default: 20",
)
@click.pass_obj
def worker(cli: Cli, until_idle: bool, concurrency: int | None) -> None:
    """Run pending deliveries.

    These are retries, and the work that crashed processes have left.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    changed = {"worker_concurrency": concurrency, **WORKER_SETTINGS}
    settings = cli.load_settings(log_level="info", **changed)
    beside = cli.app.extensions.worker_services(settings)
    work = worker_service(settings, beside=beside, until_idle=until_idle)
    cli.run_services(settings, work)
