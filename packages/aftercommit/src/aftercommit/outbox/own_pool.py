"""An engine that is like another one, which an application has given, with a pool of its own.

Whatever decides how a statement is written and what it means is that of the application: dialect
(with its serializers), arguments of the connections, execution options and listeners. Connections
and their number are ours. So no request waits for a handler, and no handler for a request.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.events import ConnectionEvents
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.outbox.translated_schemas import for_handlers

WITH_RESULT = ("before_execute", "before_cursor_execute")
"""Events of which SQLAlchemy keeps a function that returns something, whatever was given."""
NOT_COPIED = ("sqlalchemy.engine.default.", "aftercommit.")
"""What listens for an execution option, and what we do: each engine has its own of these."""


def with_own_pool(theirs: Engine, url: object, *, pool_size: int, **_: Any) -> AsyncEngine:
    """Return an engine that connects as another one does; nothing is connected yet.

    What listens to the other one has to be there by now.
    """
    dialect: Any = theirs.dialect
    # as `theirs.pool.recreate()` does it, which is public, but takes no other size
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
    """Return the execution options of an engine like this one, whose connections we use as well."""
    options = for_handlers(theirs.get_execution_options())
    if options.pop("isolation_level", None) and theirs.dialect.name == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    return options


def copy_listeners(theirs: Engine, ours: Engine, kind: type[Any]) -> None:
    """Let what listens to events of some kind of an engine listen to those of ours, too."""
    for name, function in listeners_of(theirs, kind, but_of=ours):
        if not name_of(function).startswith(NOT_COPIED):
            event.listen(ours, name, function, **({"retval": True} if name in WITH_RESULT else {}))


def listeners_of(target: Any, kind: type[Any], *, but_of: Any) -> Iterator[tuple[str, Any]]:
    """Yield the events that are listened to, each with a function: no public name tells them.

    What listens to another one as well, such as to all of its class, is left out.
    """
    for name in dir(kind):
        if not name.startswith("_") and name != "dispatch":
            of_both = [*getattr(but_of.dispatch, name)]
            for function in getattr(target.dispatch, name):
                if function not in of_both:
                    yield name, function


def name_of(function: object) -> str:
    """Return where a function is, and what it is called."""
    module, name = (getattr(function, each, "") for each in ("__module__", "__qualname__"))
    return f"{module}.{name}" if module and name else repr(function)
