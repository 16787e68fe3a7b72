"""What an application consists of: its parts of each kind, listed in one place.

An application lists its own parts (`App`), and an extension returns all of its parts as one value,
so that nobody can wire only half of it. A part is a function that imports what it needs when it is
called; commands and settings may also be a place, "module:NAME". So a process imports what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aftercommit.errors import WiringError

if TYPE_CHECKING:
    import logging

    from fastapi import APIRouter

    from aftercommit.database.backend import DatabaseBackend
    from aftercommit.database.database import Backends
    from aftercommit.observers import Observer
    from aftercommit.ports import InboundSource, Publisher
    from aftercommit.process.application import Application
    from aftercommit.process.logging_setup import Formatters
    from aftercommit.process.running_services import Service, Shutdown
    from aftercommit.settings import EngineSettings, EnvLookup

T = TypeVar("T")

NOTHING: Mapping[Any, Any] = MappingProxyType({})
GROUPS = ("Use", "Run", "Inspect", "Maintain")

Commands = Mapping[str, Mapping[Any, str]]
"""By group in the help: the place of each command, and its line there.

The place is a command or "module:NAME"; its name is the function's: `place_order` is `place-order`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of an application, or of one of its extensions. All are optional.

    >>> from aftercommit import Parts
    >>> async def look_for_trouble(application, shutdown):
    ...     await shutdown.wait()
    >>> parts = Parts(name="trouble", services=[lambda settings: [look_for_trouble]])
    """

    name: str
    """The name of the application; or of the extension, and of the extra with its requirements."""
    commands: Commands = field(default_factory=dict)
    """By group: Use, Run, Inspect, Maintain."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of all commands: settings with their help; {prefix} is the prefix of variables."""
    settings: str | type | None = None
    """The dataclass of an extension's settings, which are read from the environment, too."""
    env_lookup: Callable[[EnvLookup], EnvLookup] | None = None
    """Returns another way to look up variables, which may use the given one."""
    log_formats: Mapping[str, Callable[[], logging.Formatter]] = field(default_factory=dict)
    databases: Mapping[str, Callable[[], type[DatabaseBackend]]] = field(default_factory=dict)
    """By the scheme of their URLs."""
    ports: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Ports with an external effect, by the name with which handlers ask for them.

    `make(settings, delivers=…)` makes the port, or returns None; `delivers` says whether handlers
    run in this process. A port with a method `aclose` is closed at the end.
    """
    publishers: Sequence[
        Callable[[EngineSettings], AbstractAsyncContextManager[Mapping[str, Publisher]]]
    ] = ()
    """Each opens publishers, by name."""
    subscriptions: Callable[[], Sequence[InboundSource]] | None = None
    """Returns the messages of other services that become commands."""
    observers: Sequence[Callable[[EngineSettings], AbstractContextManager[Observer] | None]] = ()
    """Each returns an observer's context manager, open as long as the program works, or None."""
    services: Sequence[Callable[[EngineSettings], Sequence[Service]]] = ()
    """Each returns services that run next to a worker, started by the commands `worker` and `run`.

    A service ends when `shutdown` is set: `async def service(application, shutdown)`.
    """
    lifespans: Sequence[
        Callable[[EngineSettings, Application, Shutdown], AbstractAsyncContextManager[None]]
    ] = ()
    """Each context is open as long as any services of a process run."""
    operator_routes: Sequence[Callable[[], APIRouter]] = ()
    """Routes over HTTP for operators only."""
    public_routes: Sequence[Callable[[], APIRouter]] = ()
    """Routes over HTTP for everybody; they themselves decide who may see what."""
    page_scripts: Sequence[str] = ()
    """The URLs of further scripts for the page in the browser."""


class Extension:
    """An optional capability of an application: its settings, and all its parts.

    Its own commands and routes find it with `App.extension`, as the application configured it.

    >>> from aftercommit import Extension, Parts
    >>> class Trouble(Extension):
    ...     def parts(self):
    ...         return Parts(name="trouble", services=[lambda settings: [self.look_for_it]])
    ...     async def look_for_it(self, application, shutdown):
    ...         await shutdown.wait()
    >>> len(Trouble().parts().services)
    1
    """

    def parts(self) -> Parts:
        """Return all parts of this extension."""
        raise NotImplementedError


class AllParts(tuple[Parts, ...]):
    """The parts of an application and of its extensions, in the order in which they are listed."""

    __slots__ = ()

    @property
    def log_formats(self) -> Sequence[str]:
        """The names of all log formats."""
        return ("text", *(name for each in self for name in each.log_formats))

    def formatters(self) -> Formatters:
        """Return functions that make the formatters of their log formats."""
        return {name: make for each in self for name, make in each.log_formats.items()}

    def database_backends(self) -> Backends:
        """Return functions that import their database backends, by the scheme of the URL."""
        return {scheme: find for each in self for scheme, find in each.databases.items()}

    def settings(self) -> list[Any]:
        """Return the classes of the extensions' settings."""
        return [resolve(each.settings) for each in self if each.settings]

    def env_lookup(self, lookup: EnvLookup) -> EnvLookup:
        """Return the way in which all of them together look up variables."""
        for each in self:
            lookup = each.env_lookup(lookup) if each.env_lookup else lookup
        return lookup

    def subscriptions(self) -> Sequence[InboundSource]:
        """Return the messages of other services that become commands."""
        return [one for each in self if each.subscriptions for one in each.subscriptions()]

    def services(self, settings: EngineSettings) -> Sequence[Service]:
        """Return all services that run next to a worker."""
        return [one for each in self for find in each.services for one in find(settings)]


def resolve(part: str | T) -> T:
    """Return a part; if it is given as a place, "module:NAME", import it.

    :raises WiringError: if the module has no such name
    :raises ModuleNotFoundError: if there is no such module, or it needs another one
    """
    if not isinstance(part, str):
        return part
    module, _, name = part.partition(":")
    found: dict[str, Any] = vars(import_module(module))
    if name not in found:
        raise WiringError("an application lists a part that does not exist", part)
    return cast("T", found[name])
