"""The command that imports users."""

from itertools import islice
from pathlib import Path

import click

from allocation.bootstrap import Application
from allocation.entrypoints.cli.application import Options, Owed, counted, set_up
from allocation.entrypoints.cli.exit_codes import REFUSED
from allocation.entrypoints.operations.csv_rows import read_rows
from allocation.entrypoints.operations.importing import Import, Summary
from allocation.entrypoints.operations.progress import progress
from allocation.entrypoints.output import output, say
from allocation.entrypoints.running import with_application

INLINE_ROWS = 1000


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dispatch",
    type=click.Choice(["inline", "worker"]),
    help=f"Who does what follows from it. Default: this command for the first {INLINE_ROWS} rows, "
    "then workers; or as ALLOCATION_DISPATCH says",
)
@click.pass_obj
def import_users(options: Options, file: Path, dispatch: str | None) -> None:
    """Register the users of a CSV file with the columns name,email.

    Running it again imports only what is missing.
    """
    owed, summary = Owed(), Summary()
    settings = set_up({**options, "dispatch": dispatch})
    delivers = settings.dispatch == "inline"
    inline_rows = (None if dispatch else INLINE_ROWS) if delivers else 0

    async def work(application: Application) -> None:
        for inline, some in (True, islice(rows, inline_rows)), (False, rows):
            await Import(application, summary, _refuse, owed.add, inline=inline).run(some)
        await output().keep_pace(to_the_end=True)

    length = file.stat().st_size
    with (
        progress("importing", length, rows=lambda: summary.rows) as advance,
        read_rows(file, advance=advance) as rows,
    ):
        with_application(settings, work, tell_story=False, delivers=delivers)
    say(f"imported {summary.imported}, already there {summary.known}, refused {summary.refused}")
    owed.show()
    if summary.left and (dispatch or delivers):  # else workers do everything here, and always run
        say(f'{counted(summary.left)} due; run "allocation worker --until-idle"', err=True)
    if summary.refused:
        click.get_current_context().exit(REFUSED)


async def _refuse(reason: str) -> None:
    say(reason, err=True)
    await output().keep_pace()
