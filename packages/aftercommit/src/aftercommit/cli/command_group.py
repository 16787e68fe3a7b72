"""The group of all commands of an application, and the options they share.

Shells ask for the list at each press of the tab key, so a command is imported only when called.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import click

from aftercommit.cli.command_context import CommandLine
from aftercommit.cli.error_handling import ErrorHandlingGroup
from aftercommit.errors import InvalidValue, WiringError, install_hint
from aftercommit.process.app import App
from aftercommit.process.parts import GROUPS, Parts, resolve
from aftercommit.secret_text import without_secrets

OF_ALL = Parts(
    name="",
    commands={
        "Run": {"aftercommit.cli.commands:worker": "Run pending deliveries."},
        "Maintain": {"aftercommit.cli.commands:db": "Upgrade the database schema."},
    },
)
"""The commands that every application has."""
LOG_LEVELS = ["debug", "info", "warning", "error"]
HELP = """\b
{summary}

Options come before the command. Each one is also an environment variable: --database-url is
{prefix}_DATABASE_URL.

Exit codes: 0 done, 1 refused, 2 malformed input, 3 a resource is not available,
70 a bug in this program, 130 interrupted.
"""


def command_line(app: App[Any]) -> click.Group:
    """Return the command line of an application: its commands, ours, and those of extensions.

    >>> from aftercommit import command_line
    >>> from shop.entrypoints.app import APP
    >>> cli = command_line(APP)  # what `[project.scripts]` names
    >>> cli(["place-order", "ivan@example.com", "lamp=2"], standalone_mode=False)
    order ... is placed
    """

    @click.pass_context
    def begin(ctx: click.Context, /, **options: str | None) -> None:
        from aftercommit.terminal.nonblocking_output import lifespan

        ctx.with_resource(lifespan())
        ctx.obj = CommandLine(app, options)

    return GroupedCommands(
        app.name,
        callback=begin,
        commands=[*_lazy_commands(app)],
        params=[*_options(app)],
        help=HELP.format(summary=app.summary, prefix=app.name.upper()).removeprefix("\b\n"),
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class LazyCommand(click.Command):
    """Stands for a command in the list; the command itself is imported when it is called."""

    def __init__(
        self,
        group: str,
        place: str | click.Command,
        summary: str,
        *,
        program: str = "",
        extra: str | None = None,
    ) -> None:
        if isinstance(place, str):
            name: str | None = place.rpartition(":")[2].replace("_", "-")
        else:
            name = place.name
        super().__init__(name, help=summary)
        self.group, self._place, self._program, self._extra = group, place, program, extra

    def load(self) -> click.Command:
        """Import the command itself.

        :raises WiringError: if the list names a command that is not there
        :raises InvalidValue: if the library of an extension's extra is missing
        """
        try:
            command: object = resolve(self._place)
        except ModuleNotFoundError as error:
            if self._extra is None:
                raise
            problem = f"needs {error.name}; {install_hint(self._extra)}"
            raise InvalidValue(f"{self._program} {self.name}", problem) from None
        if not isinstance(command, click.Command):
            raise WiringError("this entry in a list of commands is no command", repr(self._place))
        return command

    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        """Begin a call: from here on, the real command does the work."""
        return self.load().make_context(*arguments, **extra)


class GroupedCommands(ErrorHandlingGroup):
    """Lists its commands in groups, each with its whole summary."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group that has commands."""
        found = [each for each in self.commands.values() if isinstance(each, LazyCommand)]
        width = max(len(each.name or "") for each in found)
        for group in GROUPS:
            rows = [(f"{c.name:{width}}", c.help or "") for c in found if c.group == group]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)


def _lazy_commands(app: App[Any]) -> Iterator[LazyCommand]:
    """Yield the commands of the application, those of every application, and of extensions.

    :raises WiringError: if two have one name, or a group is none of `GROUPS`
    """
    own, *brought = app.parts
    names = set[str | None]()
    for parts in (own, OF_ALL, *brought):
        extra = parts.name if parts in brought else None
        for group, commands in parts.commands.items():
            if group not in GROUPS:
                raise WiringError(f"the groups of commands are {', '.join(GROUPS)}, not", group)
            for place, summary in commands.items():
                command = LazyCommand(group, place, summary, program=app.program, extra=extra)
                if command.name in names:
                    raise WiringError("two commands have one name", str(command.name))
                names.add(command.name)
                yield command


def _options(app: App[Any]) -> Iterator[click.Parameter]:
    """Yield the options before a command; the value of --broker-urls, for example, is a URL."""
    default = f"Default: {without_secrets(app.default_database_url)}"
    yield click.Option(["--database-url"], metavar="URL", help=default)
    loops = click.Choice(["asyncio", "trio"])
    yield click.Option(["--event-loop"], type=loops, help="Default: asyncio")
    level = "Default: error; info for commands that run until stopped"
    for name, text in ((name, text) for each in app.parts for name, text in each.options.items()):
        metavar, about = name.rpartition("-")[2].upper(), text.format(prefix=app.name.upper())
        yield click.Option([name], metavar=metavar, help=about)
    yield click.Option(["--log-level"], type=click.Choice(LOG_LEVELS), help=level)
    formats = click.Choice(list(app.parts.log_formats))
    yield click.Option(["--log-format"], type=formats, help="Default: text")
    about = "Show the version and exit."
    options: Any = {"is_flag": True, "expose_value": False, "is_eager": True}
    yield click.Option(["--version"], help=about, callback=partial(_show_version, app), **options)


def _show_version(app: App[Any], ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # importing it takes long

    found = f"aftercommit {version('aftercommit')}"
    with suppress(PackageNotFoundError):  # an outbox has an application's name, which is no package
        found = f"{version(app.name)} ({found})"
    click.echo(f"{ctx.find_root().info_name}, version {found}")
    ctx.exit()
