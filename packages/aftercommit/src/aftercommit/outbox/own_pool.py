"""Makes an engine like the one that an application has given, with a pool of its own.

Everything that decides how statements are written and what they mean is the application's: the
dialect with its serializers, the arguments of connections, the execution options and the listeners.
The connections and their number are ours, so that no request waits for a handler, and no handler
for a request.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.events import ConnectionEvents
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.outbox.translated_schemas import for_handlers

WITH_RESULT = ("before_execute", "before_cursor_execute")
"""Events for which SQLAlchemy keeps only functions with a return value."""
NOT_COPIED = ("sqlalchemy.engine.default.", "aftercommit.")
"""Listeners for an execution option, and for our own work: each engine has its own."""


def with_own_pool(theirs: Engine, url: object, *, pool_size: int, **_: Any) -> AsyncEngine:
    """Return an engine that connects like another one; nothing is connected yet.

    The listeners of the other engine have to be added before.
    """
    dialect: Any = theirs.dialect
    # like `theirs.pool.recreate()`, which is public, but accepts no other size
    pool = dialect.get_pool_class(theirs.url)(
        theirs.pool._creator,
        pool_size=pool_size,
        max_overflow=0,
        recycle=theirs.pool._recycle,
        dialect=dialect,
        _dispatch=theirs.pool.dispatch,
    )
    options = own_options(theirs)
    ours = Engine(pool, dialect, theirs.url, hide_parameters=True, execution_options=options)
    copy_listeners(theirs, ours, ConnectionEvents)
    return AsyncEngine(ours)


def own_options(theirs: Engine) -> dict[str, Any]:
    """Return the execution options of an engine like this one, whose connections we use, too."""
    options = for_handlers(theirs.get_execution_options())
    if options.pop("isolation_level", None) and theirs.dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    return options


def copy_listeners(theirs: Engine, ours: Engine, kind: type[Any]) -> None:
    """Add the listeners to one kind of events of an engine to our engine, too."""
    for name, function in listeners_of(theirs, kind, but_of=ours):
        if not name_of(function).startswith(NOT_COPIED):
            event.listen(ours, name, function, **({"retval": True} if name in WITH_RESULT else {}))


def listeners_of(target: Any, kind: type[Any], *, but_of: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names of events with a listener each; there is no public way.

    Listeners that also listen to `but_of`, such as to all engines, are left out.
    """
    for name in dir(kind):
        if not name.startswith("_") and name != "dispatch":
            of_both = [*getattr(but_of.dispatch, name)]
            for function in getattr(target.dispatch, name):
                if function not in of_both:
                    yield name, function


def name_of(function: object) -> str:
    """Return where a function is defined, and its name."""
    module, name = (getattr(function, each, "") for each in ("__module__", "__qualname__"))
    return f"{module}.{name}" if module and name else repr(function)
