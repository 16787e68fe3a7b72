"""The program `aftercommit`: runs, checks and looks after an outbox, named as MODULE:NAME.

aftercommit worker main:outbox
aftercommit check main:outbox
aftercommit new ../shop
aftercommit new-aggregate Referral note
"""

import re
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import click

from aftercommit.cli.command_group import command_line
from aftercommit.errors import InvalidValue
from aftercommit.outbox.outbox import Outbox
from aftercommit.project import OPTIONS, new_project
from aftercommit.project.aggregate.command import aggregate
from aftercommit.project.repository import begin_repository
from aftercommit.terminal.escaping import escape_controls

TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
HELP = """Run, look after and check an outbox: `aftercommit COMMAND MODULE:NAME`.

MODULE:NAME says where the outbox is, such as main:outbox in this folder. "aftercommit --help
main:outbox" lists all commands. "aftercommit new FOLDER" makes a project, and "aftercommit
new-aggregate NAME" an aggregate in it. "aftercommit --version" shows the version of the engine.
"""


def main() -> None:
    """Run the command line of the outbox that one of the arguments names."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["new"]:
        new(arguments[1:], prog_name="aftercommit new")
    if arguments[:1] == ["new-aggregate"]:
        aggregate(arguments[1:], prog_name="aftercommit new-aggregate")
    sys.path.insert(0, "")
    targets = [each for each in arguments if TARGET.fullmatch(each)]
    if len(targets) > 1:  # the others may be the names of message sources, such as github:push
        targets = [*filter(_has_module, targets)]
    if len(targets) != 1:
        if arguments == ["--version"]:
            click.echo(f"aftercommit, version {version('aftercommit')}")
            sys.exit(0)
        if arguments and arguments[0] not in ("-h", "--help"):
            problem = "name one outbox, such as main:outbox, also before --help of a command"
            click.echo(f"error: {problem}", err=True)
            sys.exit(2)
        click.echo(HELP)
        sys.exit(0)
    arguments.remove(targets[0])
    try:
        outbox = find_outbox(targets[0])
    except InvalidValue as error:
        click.echo(escape_controls(f"error: {error}"), err=True)
        sys.exit(2)
    outbox.app.program = f"aftercommit {targets[0]}"  # what a message tells to run can be run
    command_line(outbox.app)(arguments, prog_name="aftercommit")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--defaults", is_flag=True, help="Ask no questions; use only the given options.")
@click.option("--git/--no-git", default=True, help="Whether to create a Git repository.")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True),
    help="The folder with wheels of the engine.",
)
def new(folder: Path, defaults: bool, git: bool, wheels: Path | None, **chosen: bool) -> None:
    """Make a project on the engine in FOLDER, with tests; the folder's name becomes its name.

    What no option decides is asked, if there is a terminal.
    """
    options = [each for each in OPTIONS if chosen[each.removeprefix("--")]]
    if not options and not defaults and sys.stdin.isatty():
        options = [name for name, each in OPTIONS.items() if click.confirm(each.question)]
    try:
        made = new_project(folder, options, wheels.glob("*.whl") if wheels else ())
    except InvalidValue as error:
        raise click.UsageError(str(error)) from None
    begun = f"; {begin_repository(folder)}" if git else ""
    click.echo(f"{len(made)} files in {folder}{begun}. Its README.md says what to do next.")


for _name, _option in OPTIONS.items():
    new.params.append(click.Option([_name], is_flag=True, help=f"{_option.question}"))


def find_outbox(target: str) -> Outbox:
    """Return the outbox that MODULE:NAME means, seen from the current folder.

    :raises InvalidValue: if there is no such module, if it has no outbox of that name, or if
        importing it raises
    """
    module, _, name = target.partition(":")
    if not _has_module(target):
        raise InvalidValue(
            f"{target}:", f"there is no module {module} in this folder, and none is installed"
        )
    try:
        members = vars(import_module(module)).items()
    except Exception as error:  # there, or in a module that it imports
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{type(error).__name__}: {error} ({where.filename}, line {where.lineno})"
        raise InvalidValue(f"{target}:", f"{module} cannot be imported: {at}") from error
    outboxes = {each: member for each, member in members if isinstance(member, Outbox)}
    if name not in outboxes:
        there = ", ".join(f"{module}:{each}" for each in outboxes) or "none"
        raise InvalidValue(target, f"is no outbox; {module} has {there}")
    return outboxes[name]


def _has_module(target: str) -> bool:
    try:
        return find_spec(target.partition(":")[0]) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main()
