"""Decides which statements an application's `schema_translate_map` applies to.

It applies to statements of handlers, as to those of requests. But the engine's tables are found by
the search path, in every statement: a tenant has none of its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

MAP = "schema_translate_map"
OF_HANDLERS = "aftercommit_handler_schemas"  # an execution option, too: the map for handlers


def for_handlers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return execution options whose map applies to handlers only."""
    names = options.get(MAP)
    return {**options, MAP: None, OF_HANDLERS: names} if names else dict(options)


def translate_for_handler(connection: AsyncConnection, *, is_over: bool = False) -> None:
    """Translate statements over a connection, as those of a handler; or end that."""
    sync = connection.sync_connection
    if sync and (names := sync.get_execution_options().get(OF_HANDLERS)):
        sync.execution_options(**{MAP: None if is_over else names})


@contextmanager
def untranslated(connection: Connection | None) -> Iterator[None]:
    """Translate nothing within the body."""
    names = connection and connection.get_execution_options().get(MAP)
    if connection and names:
        connection.execution_options(**{MAP: None})
    try:
        yield
    finally:
        if connection and names:
            connection.execution_options(**{MAP: names})
