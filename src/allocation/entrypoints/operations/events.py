"""The commands about the history of events."""

import click

from allocation.adapters.operations.forgetting import count_old, forget
from allocation.entrypoints.cli.application import Options, counted, set_up
from allocation.entrypoints.operations.duration import Duration
from allocation.entrypoints.operations.progress import progress
from allocation.entrypoints.output import say
from allocation.entrypoints.running import with_application


@click.group()
def events() -> None:
    """Look after the history of events."""


@events.command()
@click.option("--older-than", type=Duration(), required=True, help="Such as 30d, 12h, 15m or 45s.")
@click.pass_obj
def prune(options: Options, older_than: float) -> None:
    """Delete old events, with what was done about them, and old commands.

    Those with a delivery that is still owed are kept. A message from outside is not recognized any
    more when its command has been forgotten. Workers do this by themselves where
    ALLOCATION_KEEP_HISTORY_DAYS is set.
    """
    settings = set_up(options)
    old = with_application(settings, lambda a: count_old(a.database, older_than=older_than))
    with progress("pruning", old) as told:
        count = with_application(
            settings, lambda a: forget(a.database, older_than=older_than, told=told)
        )
    say(f"{counted(count, 'event', 'events')} deleted")
