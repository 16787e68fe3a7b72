"""What an extension can bring to the program: a class with a method for each thing it may add.

A method imports what it needs when it is called, so a process pays only for what it uses. Each is
called in one place; what an extension does not define is as it is here: it brings no such thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import logging

    import click
    from fastapi import APIRouter

    from aftercommit.observers import Observer
    from aftercommit.ports import Publisher
    from aftercommit.process.application import Application
    from aftercommit.process.runtime import Service, Shutdown
    from aftercommit.settings import EngineSettings, EnvLookup
    from aftercommit.sql.backend import DatabaseBackend


class Extension:
    """A capability that an application may do without.

    >>> from aftercommit import Extension
    >>> class Trouble(Extension):
    ...     name = "trouble"
    ...     def worker_services(self, settings):
    ...         return [self.look_for_it]
    ...     async def look_for_it(self, application, shutdown):
    ...         await shutdown.wait()
    >>> extensions = [Trouble()]  # of an `App`
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
