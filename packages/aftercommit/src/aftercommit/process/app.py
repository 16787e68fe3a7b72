"""What an application is to those who start it: a list of its parts, and how to open it.

It imports nothing heavy: a part is imported when it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aftercommit.errors import InvalidValue, WiringError
from aftercommit.process.parts import NOTHING, AllParts, Commands, Extension, Parts, resolve

if TYPE_CHECKING:
    from fastapi import APIRouter

    from aftercommit.codec import Codec
    from aftercommit.database.database import Database
    from aftercommit.database.migrations.history import History
    from aftercommit.handler_table import Handlers
    from aftercommit.observers import Observer
    from aftercommit.ports import Publisher
    from aftercommit.process.application import Application
    from aftercommit.process.running_services import Service
    from aftercommit.process.unknown_settings import UnknownSetting
    from aftercommit.settings import EngineSettings

S = TypeVar("S", bound="EngineSettings")
E = TypeVar("E", bound=Extension)

OWN = ["commands", "options", "publishers", "observers", "services"]  # parts of an application
OWN += ["operator_routes", "public_routes", "page_scripts"]


class App(Generic[S]):
    """An application, for the command line and its services: the list of its parts.

    `name` is its distribution, its package and, unless `program` is given, its command; it is also
    `EngineSettings.application`. `summary` says what it does, for `--help`.

    `handlers` is its table of handlers, `codec` describes its messages, and `settings` is the class
    of its settings; `history` has the migrations of its tables, or is None if the application
    itself creates them. `open` is its composition root, `bootstrap(app, settings, *, observers,
    delivers)`. `reporter` returns an observer that prints what happens, and `warn_operators` logs
    what operators may not expect. Each of these is an object, or its place as "module:NAME". For
    `commands`, `options`, `publishers`, `observers`, `services`, routes and scripts see `Parts`,
    which also lists what only an extension can have. `given` settings override variables.

    >>> from aftercommit import App
    >>> shop = App(
    ...     "shop",
    ...     summary="Take orders.",
    ...     handlers="shop.service_layer.handlers:HANDLERS",
    ...     codec="shop.bootstrap:CODEC",
    ...     settings="shop.config:Settings",
    ...     open="shop.bootstrap:bootstrap",
    ...     database_url="sqlite:///shop.db",
    ...     commands={"Use": {"shop.entrypoints.commands:place_order": "Order some articles."}},
    ... )
    >>> shop.load({"max_attempts": 3}).max_attempts
    3
    """

    owns_prefix = True
    """Every variable that begins with its name is meant for it."""

    def __init__(
        self,
        name: str,
        *,
        summary: str,
        handlers: str | Handlers[Any, Any],
        codec: str | Codec[Any],
        settings: str | type[S],
        open: str | Callable[..., AbstractAsyncContextManager[Application]],  # noqa: A002
        database_url: str,
        history: str | History | None = None,
        program: str | None = None,
        reporter: str | Callable[[S], Observer] | None = None,
        warn_operators: str | Callable[..., None] | None = None,
        given: Mapping[str, Any] = NOTHING,
        extensions: Sequence[Extension] = (),
        commands: Commands = NOTHING,
        options: Mapping[str, str] = NOTHING,
        publishers: Sequence[
            Callable[[S], AbstractAsyncContextManager[Mapping[str, Publisher]]]
        ] = (),
        observers: Sequence[Callable[[S], AbstractContextManager[Observer] | None]] = (),
        services: Sequence[Callable[[S], Sequence[Service]]] = (),
        operator_routes: Sequence[Callable[[], APIRouter]] = (),
        public_routes: Sequence[Callable[[], APIRouter]] = (),
        page_scripts: Sequence[str] = (),
    ) -> None:
        self._as_made = {key: value for key, value in locals().items() if key != "self"}
        self.name, self.program, self.summary = name, program or name, summary
        self.default_database_url = self._database_url = database_url
        self.extensions = tuple(extensions)
        self._handlers, self._codec, self._history = handlers, codec, history
        self._settings, self._given, self._open = settings, given, open
        self._reporter, self._warn_operators = reporter, warn_operators
        own: Any = {key: self._as_made[key] for key in OWN}
        brought = [each.parts() for each in self.extensions]
        self.parts = AllParts([Parts(name=name, **own), *brought])

    def with_parts(self, **changed: Any) -> App[S]:
        """Return the same application with other parts: a test, for example, replaces `open`."""
        return App(**{**self._as_made, **changed})

    def extension(self, kind: type[E]) -> E:
        """Return the application's extension of this class, as the application configured it.

        :raises WiringError: if the application does not have it
        """
        for each in self.extensions:
            if isinstance(each, kind):
                return each
        raise WiringError(f"the application {self.name} does not have", kind.__name__)

    def handlers(self) -> Handlers[Any, Any]:
        """Return the table of handlers."""
        return resolve(self._handlers)

    def codec(self) -> Codec[Any]:
        """Return the codec of its messages."""
        return resolve(self._codec)

    def history(self) -> History | None:
        """Return the migrations of its tables; None if the application itself creates them."""
        return resolve(self._history)

    def open_database(self, settings: S, **given: Any) -> AbstractAsyncContextManager[Database]:
        """Open only the database."""
        from aftercommit.database.database import Database
        from aftercommit.deliveries.history import ENGINE

        return Database(
            settings.database_url,
            codec=self.codec(),
            application=self.name,
            program=self.program,
            histories=[ENGINE, *filter(None, [self.history()])],
            backends=self.parts.database_backends(),
            connections=settings.pool_size,
            handler_timeout=settings.handler_timeout_seconds,
            instance_name=settings.instance_name,
            **given,
        ).opened()

    def settings(self) -> type[S]:
        """Return the class of the settings."""
        return resolve(self._settings)

    def load(self, overrides: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> S:
        """Return the settings, from these overrides, `given`, the environment and the defaults.

        The database's default URL is that of the class of settings, or else the application's.

        :raises InvalidValue: if one is wrong, or if a variable is one with a misspelt name
        """
        from dataclasses import MISSING

        from aftercommit.settings import load

        for unknown in self.unknown_settings(environment):
            if unknown.is_misspelt and self.owns_prefix:
                raise InvalidValue(unknown.variable, unknown.problem)
        kind, find = self.settings(), self.parts.env_lookup(environment.get)
        given = {**self._given, **{k: v for k, v in overrides.items() if v is not None}}
        has_default = kind.__dataclass_fields__["database_url"].default is not MISSING
        if not (has_default or "database_url" in given or find(kind.variable("database_url"))):
            given["database_url"] = self._database_url
        return load(
            kind,
            given,
            find,
            of_extensions=self.parts.settings(),
            log_formats=self.parts.log_formats,
        )

    def unknown_settings(self, environment: Mapping[str, str] = os.environ) -> list[UnknownSetting]:
        """Return the variables that look like settings of this application, and are none."""
        from dataclasses import fields

        from aftercommit.process.unknown_settings import unknown_settings

        kind = self.settings()
        names = [one.name for each in (kind, *self.parts.settings()) for one in fields(each)]
        return [*unknown_settings(kind.variable(""), map(kind.variable, names), environment)]

    def open(
        self, settings: S, *, observers: Sequence[Observer] = (), delivers: bool = True
    ) -> AbstractAsyncContextManager[Application]:
        """Open everything the settings ask for: see the application's bootstrap."""
        import logging

        for each in self.unknown_settings():
            level = logging.WARNING if self.owns_prefix or each.nearest else logging.INFO
            logging.getLogger(__name__).log(level, "%s %s", each.variable, each.problem)
        return resolve(self._open)(self, settings, observers=observers, delivers=delivers)

    def warn_operators(self, settings: S, *, delivers: bool) -> None:
        """Log what operators may not expect of services with these settings."""
        if self._warn_operators:
            resolve(self._warn_operators)(settings, delivers=delivers)

    def reporter(self, settings: S) -> Observer:
        """Return an observer that prints what happens; the default prints nothing."""
        from aftercommit.observers import Observer

        return resolve(self._reporter)(settings) if self._reporter else Observer()
