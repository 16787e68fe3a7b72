"""The command that makes the read model of users anew."""

import click

from allocation.adapters.operations import rebuilding
from allocation.entrypoints.cli.application import Options, counted, set_up
from allocation.entrypoints.operations.progress import progress
from allocation.entrypoints.output import say
from allocation.entrypoints.running import with_application


@click.command()
@click.pass_obj
def rebuild_users(options: Options) -> None:
    """Make the list of users anew from what is stored of them, while all else goes on.

    It needs no events, so it does not matter how many of them have been pruned.
    """
    settings = set_up(options)
    length = with_application(settings, lambda a: rebuilding.count_users(a.database))
    with progress("rebuilding", length) as told:
        count = with_application(settings, lambda a: rebuilding.rebuild_users(a.database, told))
    say(f"{counted(count, 'user', 'users')} rebuilt")
