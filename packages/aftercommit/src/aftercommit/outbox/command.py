"""The command `aftercommit`: what can be done with an outbox that is named as MODULE:NAME.

aftercommit worker main:outbox
aftercommit check main:outbox
"""

import re
import sys
from importlib import import_module
from importlib.util import find_spec

import click

from aftercommit.errors import InvalidValue
from aftercommit.outbox import Outbox
from aftercommit.process.cli.main import command_line
from aftercommit.process.terminal_escaping import escape_controls

TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
HELP = """Run, look after and check an outbox: `aftercommit COMMAND MODULE:NAME`.

MODULE:NAME is where the outbox is, such as main:outbox, seen from this folder. "aftercommit --help
main:outbox" lists all commands.
"""


def main() -> None:
    """Run the command line of the outbox that one of the arguments names."""
    arguments = sys.argv[1:]
    targets = [each for each in arguments if TARGET.fullmatch(each)]
    if len(targets) != 1:
        if arguments and arguments[0] not in ("-h", "--help"):
            click.echo("error: name one outbox, such as main:outbox", err=True)
            sys.exit(2)
        click.echo(HELP)
        sys.exit(0)
    arguments.remove(targets[0])
    try:
        outbox = find_outbox(targets[0])
    except InvalidValue as error:
        click.echo(escape_controls(f"error: {error}"), err=True)
        sys.exit(2)
    command_line(outbox.app)(arguments, prog_name="aftercommit")


def find_outbox(target: str) -> Outbox:
    """Return the outbox that MODULE:NAME means, seen from the current folder.

    :raises InvalidValue: if there is no such module, or it has no outbox of that name
    """
    module, _, name = target.partition(":")
    sys.path.insert(0, "")
    try:
        known = find_spec(module)
    except ModuleNotFoundError:
        known = None
    if known is None:
        raise InvalidValue(target, f"there is no module {module} here, nor installed")
    found = getattr(import_module(module), name, None)
    if not isinstance(found, Outbox):
        outboxes = [
            n for n, each in vars(import_module(module)).items() if isinstance(each, Outbox)
        ]
        there = ", ".join(f"{module}:{n}" for n in outboxes) or "none"
        raise InvalidValue(target, f"is no outbox; {module} has {there}")
    return found
