"""What several commands share."""

import getpass
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from aftercommit.cli.command_context import Cli
from aftercommit.extensions.operations.batched_transactions import Advance
from aftercommit.extensions.operations.decisions import LONGEST, Decision
from aftercommit.process.application import Application
from aftercommit.terminal.escaping import escape_controls
from aftercommit.terminal.nonblocking_output import MAX_WAITING, drain, drawing
from aftercommit.terminal.printing import json_line

P = ParamSpec("P")
Row = TypeVar("Row")

FROM = "from."  # the prefix of a subscription's name

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def _handler_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Accept the name of a handler, perhaps of one that no longer exists."""
    if value and not value.isidentifier():
        raise click.BadParameter(f"{value!r} cannot be the name of a handler")
    return value


def _pausable_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Accept the name of a handler, or that of a subscription, which begins with `from.`."""
    _handler_name(ctx, param, value.removeprefix(FROM))
    return value


handler = partial(click.argument, "handler", callback=_handler_name)
pausable = click.argument("handler", callback=_pausable_name)


def is_terminal() -> bool:
    """Tell whether somebody reads what is printed on a terminal."""
    return bool(sys.stdout and sys.stdout.isatty())


def fit(line: str) -> str:
    """Fold a row of a list that is wider than the terminal; without a terminal, it stays a line.

    Its cells, which two spaces or more part, stay whole where they can; the lines that follow are
    indented.
    """
    if not is_terminal():
        return line
    from rich.cells import cell_len  # an application may import this module without the extra
    from rich.console import Console
    from rich.text import Text

    console = Console()
    width, folded = console.width - 2, [""]
    if cell_len(line) <= console.width:
        return line
    for cell in re.split(" {2,}", line.strip()):
        for piece in (each.plain.rstrip() for each in Text(cell).wrap(console, width)):
            joined = f"{folded[-1]}  {piece}".lstrip()
            folded = [*folded, piece] if cell_len(joined) > width else [*folded[:-1], joined]
    return "\n  ".join(folded)


async def print_each(lines: Iterable[str | bytes]) -> None:
    """Print lines, no faster than they are read."""
    for line in lines:
        click.echo(line)
        await drain(MAX_WAITING // 2)


async def print_rows(
    rows: Sequence[Row], line: Callable[[Row], str], *, as_json: bool, none: str
) -> None:
    """Print a line for each row, and none that somebody would have to filter out."""
    await print_each(json_line(row) if as_json else fit(escape_controls(line(row))) for row in rows)
    if not rows:
        say_none(none)
    await drain()


def say_none(what: str) -> None:
    """Tell at a terminal that a list is empty, and what would fill it."""
    if is_terminal():
        click.echo(what, err=True)


class NamedCommand(click.Command):
    """In its help, {prefix} is the prefix of the application's environment variables."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description of the command."""
        prefix = str(ctx.find_root().command.name).upper()
        named = click.Command(self.name, help=str(self.help).format(prefix=prefix))
        named.format_help_text(ctx, formatter)


def with_application(
    work: Callable[Concatenate[Application, P], Awaitable[None]],
) -> Callable[..., None]:
    """Turn work with an application into a function that a command calls."""

    @click.pass_obj
    @wraps(work)
    def run(cli: Cli, /, *args: P.args, **kwargs: P.kwargs) -> None:
        cli.run(cli.load_settings(), lambda a: work(a, *args, **kwargs))

    return run


def decided(command: Callable[..., None]) -> Callable[..., None]:
    """Add options for who decides, and why; the command gets a `decision`, and has to store it."""

    @click.option(
        "--by", metavar="NAME", help="Who decides. Default: your user name and this host."
    )
    @click.option("--reason", metavar="TEXT", help="The reason, which the history shows.")
    @wraps(command)
    def run(*args: Any, by: str | None, reason: str | None, **kwargs: Any) -> None:
        command(*args, decision=Decision(by=by or _operator(), reason=reason), **kwargs)

    return run


def _operator() -> str:
    """Return the user and host of the operating system; a user without a name has a number."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"[: LONGEST["by"]]


def is_wanted(count: int, *, yes: bool) -> bool:
    """Ask the operator to confirm, if there is a terminal, and a number above 0."""
    is_asked = count and not yes and sys.stdin and sys.stdin.isatty()
    return not is_asked or click.confirm("Go on?", err=True)


@contextmanager
def progress(label: str, length: int) -> Iterator[Advance]:
    """Show progress and the time left on a terminal; yield a function to call at each step."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield lambda step: None
        return
    bar = click.progressbar(length=length, label=label, file=sys.stderr)
    with drawing(sys.stderr), bar:
        yield bar.update
