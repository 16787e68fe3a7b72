"""The object every command gets: the application, and the options before the command's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import click

from aftercommit.errors import WiringError
from aftercommit.process.app import App

if TYPE_CHECKING:
    from aftercommit.process.application import Application
    from aftercommit.process.running_services import Service
    from aftercommit.settings import EngineSettings

S = TypeVar("S", bound="EngineSettings")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandLine(Generic[S]):
    """The object every command gets: the application, and the options before its name.

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
        """Return the settings, and set up logging as they say; `log_level` is the default.

        :raises InvalidValue: if a setting is wrong
        """
        from aftercommit.process.logging_setup import set_up_logging

        settings = self.app.load({**self.options, **changed})
        if settings.application != self.app.name:
            names = self.app.name, settings.application
            raise WiringError("the application and its settings have different names", *names)
        level, formatters = settings.log_level or log_level, self.app.parts.formatters()
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
        """Run `work` with the application, and report on the console unless `report` is false.

        :raises KeyboardInterrupt: after SIGINT, when the cancelled work has cleaned up
        """
        from aftercommit.process.running_services import run

        observers = [self.app.reporter(settings)] if report else []
        opening = self.app.open(settings, observers=observers, delivers=delivers)

        async def main() -> T:
            async with opening as application:
                return await work(application)

        return run(main, event_loop=settings.event_loop)

    def run_services(self, settings: S, *services: Service, delivers: bool = True) -> None:
        """Run services like `running_services.run_services`, and report on the console."""
        from aftercommit.process import running_services

        self.app.warn_operators(settings, delivers=delivers)
        observers = [self.app.reporter(settings)]
        running_services.run_services(
            self.app.open(settings, observers=observers, delivers=delivers),
            services,
            [partial(each, settings) for parts in self.app.parts for each in parts.lifespans],
            name=self.app.name,
            grace=settings.shutdown_grace_seconds,
            event_loop=settings.event_loop,
        )

    def handle(self, command: object, *, repeat_with: str | None = None) -> None:
        """Execute a command, dispatch its events if this process does, and report what is pending.

        After an error that leaves open what was stored, a note says how the command is repeated
        without doing it twice: `repeat_with` an option, such as "--user-id …".
        """
        from aftercommit.database.exceptions import CommitOutcomeUnknown, ConnectionLost
        from aftercommit.terminal.printing import CLI, pending

        settings = self.load_settings()
        try:
            report = self.run(
                settings,
                lambda application: application.bus.handle(command, CLI),
                delivers=settings.dispatch == "inline",
            )
        except (CommitOutcomeUnknown, ConnectionLost, KeyboardInterrupt) as error:
            if repeat_with:
                error.add_note(f"repeat it with {repeat_with}")
            raise
        self.show_pending(pending(report.failures))

    def show_pending(self, found: Mapping[tuple[str, str], int]) -> None:
        """Print on stderr what will be retried, what is parked, and what to do about it."""
        from aftercommit.terminal.printing import PARKED, RETRIED, pluralize

        inspecting = (name for each in self.app.parts for name in each.commands.get("Inspect", ()))
        can_look = any(str(name).endswith(":deliveries") for name in inspecting)
        look = f'see "{self.app.program} deliveries list"' if can_look else "not retried"
        for fate, advice in ((RETRIED, f'run "{self.app.program} worker"'), (PARKED, look)):
            handlers = {name: count for (each, name), count in found.items() if each == fate}
            if handlers:
                count = pluralize(sum(handlers.values()))
                click.echo(f"{count} {fate}: {', '.join(handlers)}; {advice}", err=True)


Cli = CommandLine[Any]
"""An application of any kind."""
