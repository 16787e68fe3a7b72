"""The command of the worker."""

import click

from allocation.entrypoints.cli.common import Options, load_settings
from allocation.entrypoints.runtime import run_services
from allocation.entrypoints.worker import WORKER_SETTINGS, worker_service


@click.command()
@click.option("--until-idle", is_flag=True, help="End when no delivery is pending.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    help="How many deliveries to run at a time. Default: 20",
)
@click.pass_obj
def worker(options: Options, until_idle: bool, concurrency: int | None) -> None:
    """Run pending deliveries.

    These are retries, and the work that crashed processes have left.

    On SIGTERM or Ctrl-C, running handlers get a grace period; a second signal exits immediately. No
    work is lost.
    """
    changed = {"worker_concurrency": concurrency, **WORKER_SETTINGS}
    settings = load_settings({**options, **changed}, log_level="info")
    run_services(settings, worker_service(settings, until_idle=until_idle))
