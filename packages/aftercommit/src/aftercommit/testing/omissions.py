"""What is still missing in an application, each in a sentence."""

import ast
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from inspect import getsource, iscoroutinefunction, unwrap
from sys import modules
from textwrap import dedent
from types import ModuleType
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from anyio import to_thread
from sqlalchemy import Connection
from sqlalchemy.orm import registry

from aftercommit.database.migrations.history import History
from aftercommit.deliveries.history import of_application
from aftercommit.handler_table import Handlers
from aftercommit.process.application import Application

NOT_STORED = {"recorded_events"}


async def omissions(
    application: Application, mapping: registry, handlers: ModuleType, *messages: ModuleType
) -> list[str]:
    """Return missing entries of handlers and messages, columns, migrations, and calls of `add`.

    Every handler needs an entry, and so does every message of these modules: every class with the
    same base as one with an entry. `handlers` is the module of the table; handlers may also be in
    modules that it imports from the same package. In the database, only the application's tables
    are checked.

    >>> import anyio, pathlib
    >>> from aftercommit import testing
    >>> from shop.adapters.orm import mapping
    >>> from shop.domain import messages
    >>> from shop.entrypoints.app import APP
    >>> from shop.service_layer import handlers
    >>> async def look():
    ...     url = testing.sqlite_url(APP, pathlib.Path())
    ...     async with APP.open(APP.load({"database_url": url})) as application:
    ...         return await testing.omissions(application, mapping, handlers, messages)
    >>> anyio.run(look)
    []
    """
    history = application.database.histories[-1]
    async with application.database.read_transaction() as transaction:
        differing = await transaction.run_sync(partial(_schema_differences, history))
    return [
        *_without_entry(handlers, [each for module in messages for each in vars(module).values()]),
        *await to_thread.run_sync(_without_column, mapping),  # it reads files
        *await to_thread.run_sync(_never_added, handlers, mapping),
        *(f"write a migration: tables and database differ, {each}" for each in differing),
    ]


def _schema_differences(history: History, connection: Connection) -> list[object]:
    """Return how a database differs from its tables in the code, as Alembic sees it."""
    options = {"include_name": of_application, "version_table": history.version_table}
    context = MigrationContext.configure(connection, opts=options)
    return [*compare_metadata(context, history.metadata)]


def _without_entry(handlers: ModuleType, members: Iterable[object]) -> Iterator[str]:
    [table] = [each for each in vars(handlers).values() if isinstance(each, Handlers)]
    handled = {*table.commands, *table.events}
    named = {each.__name__ for each in table.commands.values()} | table.by_name().keys()
    bases = {base for message in handled for base in message.__mro__[1:-1]}
    where = handlers.__name__
    for message in members:
        if not isinstance(message, type) or message in handled:
            continue
        if not bases.isdisjoint(message.__mro__[1:]):
            name = message.__name__
            yield f"{name} has no entry in the table of {where}: add on({name}, …)"
    for module in [handlers, *_beside(handlers, table)]:
        for name, function in vars(module).items():
            is_here = iscoroutinefunction(function) and function.__module__ == module.__name__
            if is_here and name not in named and not name.startswith("_"):
                yield f"{name} is in no entry of the table of {where}: add it to one"


def _beside(handlers: ModuleType, table: Handlers[Any, Any]) -> list[ModuleType]:
    """Return the modules, in the package of the table, from which the table has handlers."""
    used = {each.__module__ for each in (*table.commands.values(), *table.by_name().values())}
    package = f"{handlers.__name__.rpartition('.')[0]}."
    return [
        modules[name] for name in sorted(used - {handlers.__name__}) if name.startswith(package)
    ]


def _never_added(handlers: ModuleType, mapping: registry) -> list[str]:
    """Return the handlers that create an aggregate and do not add it, so that it is not stored."""
    [table] = [each for each in vars(handlers).values() if isinstance(each, Handlers)]
    return [
        f"{handler.__name__} makes {class_}, and adds it to no repository, so it is not stored:"
        f" uow.….add({name or '…'})"
        for handler in (*table.commands.values(), *table.by_name().values())
        for class_, name in _made_for_nobody(handler, {each.class_ for each in mapping.mappers})
    ]


def _made_for_nobody(
    handler: Callable[..., object], aggregates: Collection[type]
) -> Iterator[tuple[str, str]]:
    """Yield the class and the name of each aggregate that a statement creates for nothing."""
    nodes = [*ast.walk(ast.parse(dedent(getsource(unwrap(handler)))))]
    calls = [node for node in nodes if isinstance(node, ast.Call) and _may_add(node.func)]
    given: list[ast.AST] = [each for call in calls for each in (*call.args, *call.keywords)]
    given += [node.value for node in nodes if isinstance(node, ast.Return) and node.value]
    used = {each.id for one in given for each in ast.walk(one) if isinstance(each, ast.Name)}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.Expr) and isinstance(node.value, ast.Call):
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = {name for each in targets if (name := _root(each))}
            maker = _named(unwrap(handler), node.value.func)
            class_ = getattr(maker, "__self__", maker)  # of a class method, or itself
            if isinstance(class_, type) and class_ in aggregates and used.isdisjoint(names):
                yield class_.__name__, "".join(names)


def _root(target: ast.expr) -> str:
    """Return the variable in the target of an assignment, such as `users` of `users[name]`."""
    while isinstance(target, ast.Subscript | ast.Attribute):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _may_add(called: ast.expr) -> bool:
    """Tell `uow.users.add`, or a function, from other methods, which may only compare."""
    return isinstance(called, ast.Name) or getattr(called, "attr", "").startswith("add")


def _named(function: Any, name: ast.expr) -> object:
    """Return what a name in a function means, such as `orders.Order.place`; None if it is local."""
    if isinstance(name, ast.Attribute):
        return getattr(_named(function, name.value), name.attr, None)
    return function.__globals__.get(name.id) if isinstance(name, ast.Name) else None


def _without_column(mapping: registry) -> list[str]:
    """Return the attributes that are lost when the object is loaded again."""
    return [
        f"{mapper.class_.__name__}.{name} has no column: give it one, and a migration"
        for mapper in mapping.mappers
        for name in sorted(_attributes(mapper.class_) - {*mapper.attrs.keys(), *NOT_STORED})
    ]


def _attributes(class_: type) -> set[str]:
    """Return the attributes of instances: dataclass fields, and what methods assign to `self`."""
    tree = ast.parse(dedent(getsource(class_)))
    assigned = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return assigned | ({each.name for each in fields(class_)} if is_dataclass(class_) else set())
