"""The group of all commands of an application, and the options that all of them have.

Shells ask for the list at every press of the tab key, so a command is imported when it is called.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pkgutil import get_data
from typing import Any

import click

from aftercommit.errors import InvalidValue, WiringError, install_hint
from aftercommit.process.app import App, CommandLine
from aftercommit.process.error_handling import ErrorHandlingGroup
from aftercommit.secret_text import without_secrets

GROUPS = ("Use", "Run", "Inspect", "Maintain")
COMMANDS = {
    "Run": {"worker": "Run pending deliveries."},
    "Maintain": {
        "check": "Check database, schema, writes, handlers, clock and connections.",
        "db": "Upgrade the database schema.",
    },
}
"""The commands that every application has, by group."""
_FUNCTION = re.compile(
    r"""^@\w+\.command\((?:"([\w-]+)")?\)\n(?:[@ )][^\n]*\n)*"""  # its name, if it is given
    r"""(?:async )?def (\w+)\((?:(?!\n[^ )\n]).)*?\"{3}(.+?)(?:\"{3}|\n)""",
    re.MULTILINE | re.DOTALL,
)
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
        from aftercommit.process.nonblocking_output import lifespan

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
    """Stands for a command of a group, which is imported when somebody calls it."""

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


class GroupedCommands(ErrorHandlingGroup):
    """Lists its commands in groups, each with the whole of its summary."""

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
    """Yield what stands for the commands of the application, of all, and of extensions."""
    for group, modules in app.commands.items():
        if isinstance(modules, Mapping):  # as 0.1 had it: summaries by name, and a method
            yield from _stand_ins({group: modules}, app.command)  # type: ignore[attr-defined]
            continue
        for module in modules:
            yield from commands_in(module, group)
    yield from _stand_ins(COMMANDS, _load_command)
    for each in app.extensions:
        load = partial(_load_from, app.name, each.name, each.command)
        yield from _stand_ins(each.commands, load)


def commands_in(module: str, group: str) -> Iterator[LazyCommand]:
    """Yield what stands for the commands of a module, which is not imported.

    They are the functions after `@….command()`; each has a docstring.
    """
    package, _, file = module.rpartition(".")
    source = (get_data(package, f"{file}.py") or b"").decode()
    for given, function, summary in _FUNCTION.findall(source):
        name = given or function.replace("_", "-")
        yield LazyCommand(group, name, summary, partial(_load_of_module, module, function))


def _load_of_module(module: str, function: str, name: str) -> click.Command:
    command: click.Command = getattr(import_module(module), function)
    return command


def _stand_ins(
    groups: Mapping[str, Mapping[str, str]], load: Callable[[str], click.Command]
) -> Iterator[LazyCommand]:
    for group, commands in groups.items():
        yield from (LazyCommand(group, *each, load) for each in commands.items())


def _load_command(name: str) -> click.Command:
    from aftercommit.process.cli import commands

    command: click.Command = vars(commands)[name]
    return command


def _load_from(
    app: str, extra: str, load: Callable[[str], click.Command], name: str
) -> click.Command:
    try:
        return load(name)
    except ModuleNotFoundError as error:
        raise InvalidValue(f"{app} {name}", f"needs {error.name}; {install_hint(extra)}") from None


def _options(app: App[Any]) -> Iterator[click.Parameter]:
    """Yield the options of all commands; the value of --broker-urls, say, is shown as a URL."""
    default = f"Default: {without_secrets(app.default_database_url)}"
    yield click.Option(["--database-url"], metavar="URL", help=default)
    loops = click.Choice(["asyncio", "trio"])
    yield click.Option(["--event-loop"], type=loops, help="Default: asyncio")
    level = "Default: error; info for what runs until it is stopped"
    brought = (app.options, *(extension.options for extension in app.extensions))
    for name, text in ((name, text) for options in brought for name, text in options.items()):
        metavar, about = name.rpartition("-")[2].upper(), text.format(prefix=app.name.upper())
        yield click.Option([name], metavar=metavar, help=about)
    yield click.Option(["--log-level"], type=click.Choice(LOG_LEVELS), help=level)
    formats = click.Choice(list(app.extensions.log_formats))
    yield click.Option(["--log-format"], type=formats, help="Default: text")
    yield click.version_option(package_name=app.name)(lambda: None).__click_params__[0]  # type: ignore[attr-defined]
