"""The command `aftercommit new-aggregate`."""

from pathlib import Path

import click

from aftercommit.errors import InvalidValue
from aftercommit.project.aggregate import DEFAULT_COMMANDS, new_aggregate


@click.command()
@click.argument("name")
@click.argument("fields", nargs=-1)
@click.option(
    "--commands",
    metavar="TEXT",
    default=DEFAULT_COMMANDS,
    show_default=True,
    help="Verbs with their participles. The first one makes an aggregate, each other one ends it."
    " Choose verbs that do not repeat NAME, as in BookBooking.",
)
def aggregate(name: str, fields: tuple[str, ...], commands: str) -> None:
    """Make an aggregate, with tests in each layer, in the project in this folder.

    NAME looks like Referral. FIELDS have the form NAME, NAME:KIND or NAME:KIND:unique, where KIND
    is text, email, int or uuid; without FIELDS, the aggregate has a name.
    """
    try:
        made = new_aggregate(Path(), name, fields, commands)
    except InvalidValue as error:
        raise click.UsageError(str(error)) from None
    for kind, files in (("new", made.new), ("changed", made.changed)):
        click.echo("\n".join(f"{kind:8} {each}" for each in sorted(files)))
    if repeating := made.repeating:
        click.echo(
            f"\n{', '.join(repeating)}: a verb repeats the name. Messages are stored under their"
            " names, so if you prefer another verb, take this back now, and make it again."
        )
    click.echo("\nIts docstrings and rules are yours to change; `make test` says what is missing.")
