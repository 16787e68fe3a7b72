"""What an extension can bring to the program: a class with a method for each thing it may add.

A method imports what it needs when it is called, so a process pays only for what it uses. Each is
called in one place; what an extension does not define is as it is here: it brings no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import logging

    import click
    from fastapi import APIRouter

    from aftercommit.observers import Observer
    from aftercommit.ports import Publisher
    from aftercommit.process.application import Application
    from aftercommit.process.logging_setup import Formatters
    from aftercommit.process.runtime import Service, Shutdown
    from aftercommit.settings import EngineSettings, EnvLookup
    from aftercommit.sql.backend import DatabaseBackend
    from aftercommit.sql.database import Backends


class Extension:
    """A capability that an application may do without.

    >>> from aftercommit import Extension, Extensions
    >>> class Trouble(Extension):
    ...     name = "trouble"
    ...     def worker_services(self, settings):
    ...         return [self.look_for_it]
    ...     async def look_for_it(self, application, shutdown):
    ...         await shutdown.wait()
    >>> len(Extensions([Trouble()]).worker_services(None))
    1
    """

    name: ClassVar[str]
    """Its name, and that of the extra with the libraries it needs."""
    commands: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """The summaries of its commands by name, in groups: Use, Run, Inspect, Maintain."""
    options: ClassVar[Mapping[str, str]] = {}
    """Options of all commands, each the name of a setting, with their help: see `App.options`."""
    database_scheme: ClassVar[str | None] = None
    log_formats: ClassVar[Sequence[str]] = ()

    def settings(self) -> type | None:
        """Return the dataclass of its settings, which are read from the environment, too."""
        return None

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        """Return another way to look up variables, which may use the one given."""
        return lookup

    def command(self, name: str) -> click.Command:
        """Return one of its commands."""
        raise NotImplementedError

    def log_formatter(self) -> logging.Formatter:
        """Return the formatter of its log formats."""
        raise NotImplementedError

    def database_backend(self) -> type[DatabaseBackend]:
        """Return the backend for database URLs with `database_scheme`."""
        raise NotImplementedError

    def publishers(
        self, settings: EngineSettings
    ) -> AbstractAsyncContextManager[Mapping[str, Publisher]]:
        """Open its publishers, by name."""
        return nullcontext({})

    def observer(self, settings: EngineSettings) -> AbstractContextManager[Observer] | None:
        """Return an observer for as long as the program works."""
        return None

    def worker_services(self, settings: EngineSettings) -> Sequence[Service]:
        """Return services that run beside a worker."""
        return ()

    def lifespan(
        self, settings: EngineSettings, application: Application, stop: Shutdown
    ) -> AbstractAsyncContextManager[None]:
        """Be open for as long as any services of a process run."""
        return nullcontext()

    def operator_routes(self) -> APIRouter | None:
        """Return what it answers over HTTP to the operator."""
        return None

    def public_routes(self) -> APIRouter | None:
        """Return what it answers over HTTP to anybody; it decides itself who may see what."""
        return None


class Extensions(tuple[Extension, ...]):
    """Those of an application, in the order in which each is asked.

    >>> from aftercommit import Extensions
    >>> from aftercommit.extensions.operations import OperationsExtension
    >>> from aftercommit.extensions.postgresql import PostgreSQLExtension
    >>> extensions = Extensions([PostgreSQLExtension(), OperationsExtension()])
    >>> extensions.log_formats, [*extensions.database_backends()]
    (('text', 'json'), ['postgresql'])
    """

    __slots__ = ()

    @property
    def log_formats(self) -> Sequence[str]:
        """The names of all log formats."""
        return ("text", *(name for each in self for name in each.log_formats))

    def formatters(self) -> Formatters:
        """Return functions that make the formatters of their log formats."""
        return {name: each.log_formatter for each in self for name in each.log_formats}

    def database_backends(self) -> Backends:
        """Return functions that import their database backends, by the scheme of the URL."""
        return {
            each.database_scheme: each.database_backend for each in self if each.database_scheme
        }

    def settings(self) -> list[Any]:
        """Return the classes of their settings."""
        return [kind for each in self if (kind := each.settings())]

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        """Return the way to look up variables that all of them together want."""
        for each in self:
            lookup = each.env_lookup(lookup)
        return lookup

    def worker_services(self, settings: EngineSettings) -> Sequence[Service]:
        """Return all services that run beside a worker."""
        return [service for each in self for service in each.worker_services(settings)]
