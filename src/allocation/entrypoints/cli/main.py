"""The group of all commands: what there is, and the options that all of them have."""

import ast
from collections.abc import Callable
from pkgutil import get_data, resolve_name
from typing import Any, TypeVar

import click

from allocation.entrypoints.cli.exit_codes import ExitCodes
from allocation.entrypoints.output import output
from allocation.rooms import EVENT_LOOPS, LOG_FORMATS, MAIL_FORMS, ROOMS

F = TypeVar("F", bound=Callable[..., object])

COMMANDS = {
    "add-coupon-batch": "allocation.entrypoints.cli.users:add_coupon_batch",
    "change-email": "allocation.entrypoints.cli.users:change_email",
    "db": "allocation.entrypoints.cli.installation:db",
    "demo": "allocation.entrypoints.cli.users:demo",
    "register-user": "allocation.entrypoints.cli.users:register_user",
    "users": "allocation.entrypoints.cli.users:users",
    "worker": "allocation.entrypoints.cli.installation:worker",
}
OF_ROOMS = {name: place for room in ROOMS.values() for name, place in room.commands.items()}


class LazyCommand(click.Command):
    """Stands for the command at "module:function", which is imported when somebody calls it.

    Click's documentation, "Lazily Loading Subcommands", imports all of them to list them. Here the
    list, which shells ask for at every press of the tab key, is read from their source.
    """

    def __init__(self, place: str) -> None:
        super().__init__(name=None)
        self.place = place

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first sentence of the function's docstring."""
        module, _, name = self.place.partition(":")
        package, _, file = module.rpartition(".")
        for node in ast.parse(get_data(package, f"{file}.py") or b"").body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                self.help = ast.get_docstring(node)
        return super().get_short_help_str(limit)

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Begin a call: from here on it is the command itself that works."""
        command: click.Command = resolve_name(self.place)
        return command.make_context(*arguments, **extra)


def options_of_rooms(function: F) -> F:
    """Add what rooms let all commands be told; --broker-url, say, is given a URL."""
    for name, text in (option for room in ROOMS.values() for option in room.options.items()):
        function = click.option(name, metavar=name.rpartition("-")[2].upper(), help=text)(function)
    return function


@click.group(
    cls=ExitCodes,
    commands={name: LazyCommand(place) for name, place in (COMMANDS | OF_ROOMS).items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--database-url", metavar="URL", help="Default: sqlite:///allocation.db")
@click.option("--backend", type=click.Choice(EVENT_LOOPS), help="Default: asyncio")
@click.option(
    "--mail-url",
    "--smtp-url",
    "mail_url",
    metavar="URL",
    help=f"Where e-mails go: {MAIL_FORMS}. Default: allocation-mail, beside the SQLite file",
)
@options_of_rooms
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="Default: error; info for what runs until it is stopped",
)
@click.option("--log-format", type=click.Choice(list(LOG_FORMATS)), help="Default: text")
@click.version_option(package_name="allocation")
@click.pass_context
def cli(ctx: click.Context, /, **options: str | None) -> None:
    """Register users, and give each of them a welcome e-mail and a coupon.

    Each option is also an environment variable: --database-url is ALLOCATION_DATABASE_URL.

    Exit codes: 0 done, 1 refused, 2 malformed input, 3 a resource is not available,
    70 a bug in this program, 130 interrupted.
    """
    ctx.with_resource(output().opened())
    ctx.obj = options
