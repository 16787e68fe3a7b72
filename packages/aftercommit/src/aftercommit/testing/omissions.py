"""What a change of an application still lacks, each in a sentence."""

import ast
import inspect
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from textwrap import dedent
from types import ModuleType

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from anyio import to_thread
from sqlalchemy import Connection
from sqlalchemy.orm import registry

from aftercommit.handler_table import Handlers
from aftercommit.process.application import Application
from aftercommit.sql.migrations.history import History, of_application

NOT_STORED = {"recorded_events", "new_parts"}


async def omissions(
    application: Application, mapping: registry, handlers: ModuleType, *messages: ModuleType
) -> list[str]:
    """Return what is missing: rows in the table of the handlers, columns, and migrations.

    Rows for each message of these modules, that is, each class with the base of one that has a row,
    and for each handler. Of the database, it looks at the tables of the application.

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
        *_without_row(handlers, [each for module in messages for each in vars(module).values()]),
        *await to_thread.run_sync(_without_column, mapping),  # it reads files
        *(f"write a migration: tables and database differ, {each}" for each in differing),
    ]


def _schema_differences(history: History, connection: Connection) -> list[object]:
    """Return how a database differs from what the code says of its tables, as Alembic sees it."""
    options = {"include_name": of_application, "version_table": history.version_table}
    context = MigrationContext.configure(connection, opts=options)
    return [*compare_metadata(context, history.metadata)]


def _without_row(handlers: ModuleType, members: Iterable[object]) -> Iterator[str]:
    [table] = [each for each in vars(handlers).values() if isinstance(each, Handlers)]
    handled = {*table.commands, *table.events}
    named = {each.__name__ for each in table.commands.values()} | table.by_name().keys()
    bases = {base for message in handled for base in message.__mro__[1:-1]}
    for message in members:
        if not isinstance(message, type) or message in handled:
            continue
        if not bases.isdisjoint(message.__mro__[1:]):
            yield f"{message.__name__} has no row in the table of {handlers.__name__}"
    for name, function in vars(handlers).items():
        is_here = inspect.iscoroutinefunction(function) and function.__module__ == handlers.__name__
        if is_here and name not in named and not name.startswith("_"):
            yield f"{name} is in no entry of the table of {handlers.__name__}"


def _without_column(mapping: registry) -> list[str]:
    """Return the attributes that are gone when the object is loaded again."""
    return [
        f"{mapper.class_.__name__}.{name} has no column: give it one, and a migration"
        for mapper in mapping.mappers
        for name in sorted(_attributes(mapper.class_) - {*mapper.attrs.keys(), *NOT_STORED})
    ]


def _attributes(class_: type) -> set[str]:
    """Return what instances have: the fields of a dataclass, and what methods assign to `self`."""
    tree = ast.parse(dedent(inspect.getsource(class_)))
    assigned = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return assigned | ({each.name for each in fields(class_)} if is_dataclass(class_) else set())
