"""What an application is to those who start it: its name, its extensions, and how it is opened.

Nothing heavy is imported for it. A method imports what it needs when it is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from aftercommit.codec import Codec
    from aftercommit.handler_table import Handlers
    from aftercommit.observers import Observer
    from aftercommit.process.application import Application
    from aftercommit.process.extension import Extension
    from aftercommit.process.logging_setup import Formatters
    from aftercommit.process.runtime import Service
    from aftercommit.settings import EngineSettings, EnvLookup
    from aftercommit.sql.database import Backends, Database
    from aftercommit.sql.migrations.history import History

S = TypeVar("S", bound="EngineSettings")
T = TypeVar("T")


class App(Generic[S]):
    """An application, as the command line and its services start it.

    >>> from aftercommit import App
    >>> from shop.config import Settings
    >>> class Shop(App[Settings]):
    ...     name, summary = "shop", "Take orders."
    ...     extensions, default_database_url = [], "sqlite:///shop.db"
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
    extensions: ClassVar[Sequence[Extension]]
    """In the order in which each is asked."""
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
            backends=self.database_backends(),
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
            self.env_lookup(environment.get),
            of_extensions=self.extension_settings(),
            log_formats=self.log_formats,
        )

    @property
    def log_formats(self) -> Sequence[str]:
        """The names of all log formats."""
        return ("text", *self.log_formatters())

    def log_formatters(self) -> Formatters:
        """Return functions that make the formatters of the log formats of its extensions."""
        return {name: each.log_formatter for each in self.extensions for name in each.log_formats}

    def database_backends(self) -> Backends:
        """Return functions that import their database backends, by the scheme of the URL."""
        found = (each for each in self.extensions if each.database_scheme)
        return {str(each.database_scheme): each.database_backend for each in found}

    def extension_settings(self) -> list[Any]:
        """Return the classes of their settings."""
        return [kind for each in self.extensions if (kind := each.settings())]

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        """Return the way to look up variables that all of them together want."""
        for each in self.extensions:
            lookup = each.env_lookup(lookup)
        return lookup

    def worker_services(self, settings: S) -> Sequence[Service]:
        """Return all services that run beside a worker."""
        return [service for each in self.extensions for service in each.worker_services(settings)]

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
