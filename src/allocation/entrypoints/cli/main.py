"""The group of all commands: what there is, and the options that all of them have."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import click

from allocation.domain.error_kinds import InvalidValue
from allocation.entrypoints.cli.exit_codes import ErrorHandlingGroup
from allocation.extensions import EXTENSIONS, LOG_FORMATS, MAIL_URL_EXAMPLES
from allocation.service_layer.exceptions import WiringError

COMMANDS = {
    "Use": {
        "register-user": "Register a user; a welcome e-mail and a coupon follow.",
        "change-email": "Change a user's e-mail address, and notify the old one.",
        "redeem-coupon": "Redeem the coupon with CODE.",
        "add-coupon-batch": "Make QUANTITY more welcome coupons available.",
        "users": "List all users with their coupons.",
        "demo": "Execute some commands in a temporary database.",
    },
    "Run": {"worker": "Run pending deliveries."},
    "Inspect": {},
    "Maintain": {"db": "Upgrade the database schema."},
}
"""The groups of commands in the order of the help, each with its commands in that order."""


class LazyCommand(click.Command):
    """Stands for a command of a group, which is imported when somebody calls it.

    Shells ask for the list at every press of the tab key.
    """

    def __init__(
        self, group: str, name: str, summary: str, load: Callable[[str], click.Command]
    ) -> None:
        super().__init__(name, help=summary)
        self.group, self._load = group, partial(load, name)

    def load(self) -> click.Command:
        """Import the command itself.

        :raises WiringError: if the module that is to have it has none of this name
        """
        try:
            return self._load()
        except KeyError as error:
            # Click names a command after its function, without a _group or _command at its end
            problem = f'no module has this command; say @commands.command("{self.name}") there'
            raise WiringError(problem, str(self.name)) from error

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Begin a call: from here on it is the command itself that works."""
        return self.load().make_context(*arguments, **extra)


def load_command(name: str) -> click.Command:
    """Import a command of the core."""
    from allocation.entrypoints.cli import db, demo, users, worker

    groups: list[click.Group] = [users.commands]
    commands: dict[str, click.Command] = {
        "db": db.db,
        "demo": demo.demo,
        "worker": worker.worker,
    }
    for group in groups:
        commands |= group.commands
    return commands[name]


def lazy_commands() -> Iterator[LazyCommand]:
    """Yield what stands for the commands of the core and of all extensions."""
    yield from _stand_ins(COMMANDS, load_command)
    for extra, extension in EXTENSIONS.items():
        yield from _stand_ins(extension.commands, partial(_load_from, extra))


def _stand_ins(
    groups: Mapping[str, Mapping[str, str]], load: Callable[[str], click.Command]
) -> Iterator[LazyCommand]:
    for group, commands in groups.items():
        yield from (LazyCommand(group, *each, load) for each in commands.items())


def _load_from(extra: str, name: str) -> click.Command:
    try:
        return EXTENSIONS[extra].command(name)
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}; pip install -e '.[{extra}]'"
        raise InvalidValue(f"allocation {name}", problem) from None


def extension_options() -> list[click.Parameter]:
    """Return the options of extensions; the value of --broker-urls, say, is shown as a URL."""
    return [
        click.Option([name], metavar=name.rpartition("-")[2].upper(), help=text)
        for extension in EXTENSIONS.values()
        for name, text in extension.options.items()
    ]


class GroupedCommands(ErrorHandlingGroup):
    """Lists its commands in groups, each with the whole of its summary."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group that has commands."""
        found = [each for each in self.commands.values() if isinstance(each, LazyCommand)]
        width = max(len(each.name or "") for each in found)
        for group in COMMANDS:
            rows = [(f"{c.name:{width}}", c.help or "") for c in found if c.group == group]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


@click.group(
    cls=GroupedCommands,
    commands=[*lazy_commands()],
    params=extension_options(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--database-url", metavar="URL", help="Default: sqlite:///allocation.db")
@click.option("--event-loop", type=click.Choice(["asyncio", "trio"]), help="Default: asyncio")
@click.option(
    "--mail-url",
    metavar="URL",
    help=f"Where e-mails go: {MAIL_URL_EXAMPLES}. Default: allocation-mail, beside the SQLite file",
)
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

    Options come before the command. Each one is also an environment variable: --database-url is
    ALLOCATION_DATABASE_URL.

    Exit codes: 0 done, 1 refused, 2 malformed input, 3 a resource is not available,
    70 a bug in this program, 130 interrupted.
    """
    from allocation.entrypoints.nonblocking_output import lifespan

    ctx.with_resource(lifespan())
    ctx.obj = options
