"""The forms of applications and extensions up to version 0.2; for one version, they still run.

An application was a subclass of `App`, with class variables and methods, and an extension had a
method for each kind of part. Both are turned into parts here, with a warning that says what to
write instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pkgutil import get_data
from typing import Any
from warnings import warn

import click

from aftercommit.process.parts import NOTHING, Extension, Parts, resolve

OLD_APP = (
    "subclasses of App are deprecated: write {} = App(NAME, summary=…, handlers=…, codec=…,"
    " settings=…, open=…, database_url=…, commands=…, extensions=…)"
)
OLD_EXTENSION = "the methods of {} are deprecated: return Parts(…) from its method parts()"
OLD_LIST = "Extensions is deprecated: give App a list of extensions"
OLD_NAME = "new_outbox is deprecated: use new_delivery_store"
_FUNCTION = re.compile(
    r"""^@\w+\.command\((?:"([\w-]+)")?\)\n(?:[@ )][^\n]*\n)*"""  # a name, if it is given
    r"""(?:async )?def (\w+)\((?:(?!\n[^ )\n]).)*?\"{3}(.+?)(?:\"{3}|\n)""",
    re.MULTILINE | re.DOTALL,
)


class Extensions(tuple[Extension, ...]):
    """The extensions of an application."""

    __slots__ = ()

    def __new__(cls, extensions: Sequence[Extension] = ()) -> "Extensions":
        """Warn that a list will do."""
        warn(OLD_LIST, DeprecationWarning, stacklevel=2)
        return super().__new__(cls, extensions)


def new_outbox(database: Any, policy: Any) -> Any:
    """Return what `new_delivery_store` returns."""
    from aftercommit.sql.delivery_store import new_delivery_store

    warn(OLD_NAME, DeprecationWarning, stacklevel=2)
    return new_delivery_store(database, policy)


def adapt(kind: Any, init: Callable[..., None]) -> None:
    """Let a subclass of `App` be created without arguments: it calls the `init` of `App`."""
    warn(OLD_APP.format(kind.__name__.upper()), DeprecationWarning, stacklevel=3)

    def make(self: Any) -> None:
        old = type(self)
        init(
            self,
            old.name,
            summary=old.summary,
            handlers="",  # the methods of the subclass return these
            codec="",
            settings="",
            open="",
            database_url=old.default_database_url,
            program=getattr(old, "program", None),
            commands=_commands(self, getattr(old, "commands", NOTHING)),
            options=getattr(old, "options", NOTHING),
            page_scripts=getattr(old, "page_scripts", ()),
            extensions=old.extensions,
        )
        self._database_url = None  # it was printed; the class of settings had a default to use

    if "__init__" not in vars(kind):
        kind.__init__ = make


def _commands(app: Any, groups: Mapping[str, Any]) -> Mapping[str, Mapping[Any, str]]:
    """Return the places of the commands that an application lists by modules, or by a method."""
    found: dict[str, Mapping[Any, str]] = {}
    for group, listed in groups.items():
        if isinstance(listed, Mapping):  # as in 0.1: summaries by name, and a method
            found[group] = {_Late(name, app.command): text for name, text in listed.items()}
        else:
            each = (commands_in(module) for module in listed)
            found[group] = {command: text for texts in each for command, text in texts.items()}
    return found


def commands_in(module: str) -> Mapping[click.Command, str]:
    """Return stand-ins for the commands of a module, with the first line of each.

    They are the functions after `@….command()`, each with a docstring; nothing is imported.
    """
    package, _, file = module.rpartition(".")
    source = (get_data(package, f"{file}.py") or b"").decode()
    return {
        _Late(name or function.replace("_", "-"), partial(_import, module, function)): summary
        for name, function, summary in _FUNCTION.findall(source)
    }


def _import(module: str, function: str, _: str) -> click.Command:
    command: click.Command = resolve(f"{module}:{function}")
    return command


class _Late(click.Command):
    """Stands for a command that a method of an old application or extension returns."""

    def __init__(self, name: str, load: Callable[[str], click.Command]) -> None:
        super().__init__(name)
        self._load = partial(load, name)

    def load(self) -> click.Command:
        """Return the command itself."""
        return self._load()


def parts_of(extension: Any) -> Parts:
    """Return the parts of an extension of version 0.2."""
    warn(OLD_EXTENSION.format(type(extension).__name__), DeprecationWarning, stacklevel=3)
    old = _Old(extension)
    scheme = old.database_scheme
    return Parts(
        name=extension.name,
        commands={
            group: {_Late(name, extension.command): text for name, text in listed.items()}
            for group, listed in (old.commands or {}).items()
        },
        options=old.options or {},
        settings=old.settings and old.settings(),
        env_lookup=old.env_lookup,
        log_formats=dict.fromkeys(old.log_formats or (), old.log_formatter),
        databases={scheme: old.database_backend} if scheme else {},
        publishers=[old.publishers] if old.publishers else (),
        observers=[old.observer] if old.observer else (),
        services=[old.worker_services] if old.worker_services else (),
        lifespans=[old.lifespan] if old.lifespan else (),
        operator_routes=[partial(_routes, old.operator_routes)] if old.operator_routes else (),
        public_routes=[partial(_routes, old.public_routes)] if old.public_routes else (),
    )


def _routes(find: Callable[[], Any]) -> Any:
    """Return routes; a method may have returned None for no routes."""
    from fastapi import APIRouter

    return find() or APIRouter()


class _Old:
    """The attributes of an extension; missing ones are None."""

    def __init__(self, extension: object) -> None:
        self._extension = extension

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extension, name, None)
