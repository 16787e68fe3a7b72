"""The command that imports users."""

from pathlib import Path

import click

from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import Options, Owed, set_up
from allocation.entrypoints.cli.exit_codes import REFUSED
from allocation.entrypoints.operations.csv_rows import read_rows
from allocation.entrypoints.operations.importing import Import, Summary
from allocation.entrypoints.operations.progress import progress
from allocation.entrypoints.output import output, say
from allocation.entrypoints.running import with_application


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def import_users(options: Options, file: Path) -> None:
    """Register the users of a CSV file with the columns name,email.

    Running it again imports only what is missing.
    """
    owed = Owed()

    async def work(application: Application) -> Summary:
        summary = await Import(application, _refuse, owed.add).run(rows)
        await output().keep_pace(to_the_end=True)
        return summary

    settings = set_up(options)
    delivers = settings.dispatch == "inline"
    length = file.stat().st_size
    with progress("importing", length) as advance, read_rows(file, advance=advance) as rows:
        summary = with_application(settings, work, tell_story=False, delivers=delivers)
    say(f"imported {summary.imported}, already there {summary.known}, refused {summary.refused}")
    owed.show()
    if summary.refused:
        click.get_current_context().exit(REFUSED)


async def _refuse(reason: str) -> None:
    say(reason, err=True)
    await output().keep_pace()
