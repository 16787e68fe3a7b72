"""The command that works until it is told to stop."""

import click

from allocation.entrypoints.cli.application import Options, set_up
from allocation.entrypoints.serving import serve
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
