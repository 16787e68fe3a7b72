"""What an application is to those who start it: its name, its extensions, and how it is opened.

Nothing heavy is imported for it. A method imports what it needs when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from aftercommit.errors import WiringError

if TYPE_CHECKING:
    from aftercommit.codec import Codec
    from aftercommit.handler_table import Handlers
    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.extension import Extensions
    from aftercommit.process.runtime import Service
    from aftercommit.settings import EngineSettings
    from aftercommit.sql.database import Database
    from aftercommit.sql.migrations.history import History

S = TypeVar("S", bound="EngineSettings")
T = TypeVar("T")


class App(Generic[S]):
    """An application, as the command line and its services start it.

    >>> from aftercommit import App, Extensions
    >>> from shop.config import Settings
    >>> class Shop(App[Settings]):
    ...     name, summary = "shop", "Take orders."
    ...     extensions, default_database_url = Extensions(), "sqlite:///shop.db"
    ...     def settings(self):
    ...         return Settings
    >>> Shop().load({"max_attempts": 3}).max_attempts
    3
    """

    name: ClassVar[str]
    """Its distribution and package, and its command: that of `EngineSettings.application`."""
    program: ClassVar[str | None] = None
    """Its command, if that is not its name."""
    summary: ClassVar[str]
    """What it does, for `--help`."""
    extensions: ClassVar[Extensions]
    commands: ClassVar[Mapping[str, Sequence[str] | Mapping[str, str]]] = {}
    """The modules with its own commands, in the groups of the help: Use, Run, Inspect, Maintain."""
    options: ClassVar[Mapping[str, str]] = {}
    """Options of all commands: settings, with their help, where {prefix} is that of variables."""
    page_scripts: ClassVar[Sequence[str]] = ()
    """The URLs of further scripts of the page in the browser."""
    default_database_url: ClassVar[str]

    def handlers(self) -> Handlers[object, object]:
        """Return the table of its handlers."""
        raise NotImplementedError

    def codec(self) -> Codec[object]:
        """Return what is said of its messages."""
        raise NotImplementedError

    def history(self) -> History | None:
        """Return the migrations of its tables; None if it sees to its tables by itself."""
        return None

    def open_database(self, settings: S) -> AbstractAsyncContextManager[Database]:
        """Open the database alone."""
        from aftercommit.sql.database import Database

        return Database(
            settings.database_url,
            codec=self.codec(),
            application=self.name,
            program=self.program,
            history=self.history(),
            backends=self.extensions.database_backends(),
            connections=settings.pool_size,
            handler_timeout=settings.handler_timeout_seconds,
            instance_name=settings.instance_name,
        ).opened()

    def settings(self) -> type[S]:
        """Return the class of its settings."""
        raise NotImplementedError

    def load(self, overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> S:
        """Return its settings, as the environment and these say.

        :raises InvalidValue: if one is not acceptable
        """
        from aftercommit.settings import load

        return load(
            self.settings(),
            overrides,
            self.extensions.env_lookup(environment.get),
            of_extensions=self.extensions.settings(),
            log_formats=self.extensions.log_formats,
        )

    def open(
        self, settings: S, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        """Open everything the settings ask for: see the bootstrap of the application."""
        raise NotImplementedError

    def warn_operators(self, settings: S, *, delivers: bool) -> None:
        """Log what they may not expect of services with these settings."""

    def show_pending(self, found: Mapping[tuple[str, str], int]) -> None:
        """Print what will be retried and what is parked, and what to do about it."""
        from aftercommit.process.printing import show_pending

        can_look = any("deliveries" in each.commands.get("Inspect", ()) for each in self.extensions)
        show_pending(found, command=self.name, can_look=can_look)

    def reporter(self, settings: S) -> Observer:
        """Return what prints what happens: nothing, unless it says otherwise."""
        from aftercommit.observers import Observer

        return Observer()


@dataclass(frozen=True, slots=True)
class CommandLine(Generic[S]):
    """What every command is called with: the application, and the options before the command.

    >>> import click
    >>> from aftercommit import CommandLine
    >>> from shop.domain.messages import CancelOrder
    >>> @click.command()
    ... @click.argument("order_id", type=click.UUID)
    ... @click.pass_obj
    ... def cancel_order(cli: CommandLine, order_id):
    ...     cli.handle(CancelOrder(order_id=order_id))
    """

    app: App[S]
    options: Mapping[str, Any]

    def load_settings(self, *, log_level: str = "error", **changed: object) -> S:
        """Return the settings, with logging as they want it; `log_level` is its default.

        :raises InvalidValue: if a setting is not acceptable
        """
        from aftercommit.process.logging_setup import set_up_logging

        settings = self.app.load({**self.options, **changed})
        if settings.application != self.app.name:
            raise WiringError("two names of one application", self.app.name, settings.application)
        level, formatters = settings.log_level or log_level, self.app.extensions.formatters()
        set_up_logging(self.app.name, level, settings.log_format, formatters)
        return settings

    def run(
        self,
        settings: S,
        work: Callable[[Application], Awaitable[T]],
        *,
        report: bool = True,
        delivers: bool = False,
    ) -> T:
        """Run `work` with the application, and report on the console, unless asked not to.

        :raises KeyboardInterrupt: after SIGINT, when the cancelled work has left everything tidy
        """
        from aftercommit.process.runtime import run

        observers = [self.app.reporter(settings)] if report else []
        opening = self.app.open(settings, observers=observers, delivers=delivers)

        async def main() -> T:
            async with opening as application:
                return await work(application)

        return run(main, event_loop=settings.event_loop)

    def run_services(self, settings: S, *services: Service, delivers: bool = True) -> None:
        """Run services as `runtime.run_services` does. The console reports on them."""
        from aftercommit.process import runtime

        self.app.warn_operators(settings, delivers=delivers)
        observers = [self.app.reporter(settings)]
        runtime.run_services(
            self.app.open(settings, observers=observers, delivers=delivers),
            services,
            [partial(extension.lifespan, settings) for extension in self.app.extensions],
            name=self.app.name,
            grace=settings.shutdown_grace_seconds,
            event_loop=settings.event_loop,
        )

    def handle(self, command: object) -> None:
        """Execute a command, run what follows if this process is to, and report what is pending."""
        from aftercommit.process.printing import CLI, pending

        settings = self.load_settings()
        report = self.run(
            settings,
            lambda application: application.bus.handle(command, CLI),
            delivers=settings.dispatch == "inline",
        )
        self.app.show_pending(pending(report.failures))


Cli = CommandLine[Any]
"""Of any application."""
