"""Where the handlers of an outbox run: in a context of the application, with only one session."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction, isfunction, ismethod, signature
from typing import Any

from sqlalchemy import Connection, Engine, event

from aftercommit.errors import WiringError
from aftercommit.handler_entries import Entry, changed

NewContext = Callable[[], AbstractContextManager[Any]]

SECOND = (
    "a handler that asks for `session` has connected through the engine of the application, as"
    " sessions of a registry such as db.session do: their changes are not committed with the"
    " delivery. Use the handler's own session, or read in a handler that asks for none. It is"
)

_with_session: ContextVar[str | None] = ContextVar("with_session", default=None)


def in_context(
    entry: Entry[Any, Any], context: NewContext, find_engine: Callable[[], object]
) -> Entry[Any, Any]:
    """Return an entry whose handlers run in a context of the application, each time a new one.

    Those that are given a session cannot connect by the engine that is found in the context.
    """

    def enter(handler: Any) -> Any:
        return _in_context(handler, context, find_engine)

    return replace(entry, handlers=tuple(changed(each, enter) for each in entry.handlers))


def _in_context(handler: Any, context: NewContext, find_engine: Callable[[], object]) -> Any:
    if not (isfunction(handler) or ismethod(handler)):  # PUBLISH, or something that is refused
        return handler
    has_session = "session" in signature(handler).parameters

    @contextmanager
    def entered() -> Iterator[None]:
        with context(), _alone(handler.__name__, find_engine()) if has_session else nullcontext():
            yield

    @wraps(handler)
    async def handle(*args: Any, **kwargs: Any) -> Any:
        with entered():
            return await handler(*args, **kwargs)

    @wraps(handler)
    def handle_in_thread(*args: Any, **kwargs: Any) -> Any:
        with entered():
            return handler(*args, **kwargs)

    return handle if iscoroutinefunction(handler) else handle_in_thread


@contextmanager
def _alone(name: str, engine: object) -> Iterator[None]:
    """Keep a handler from connecting through a synchronous engine."""
    is_synchronous = isinstance(engine, Engine) and not engine.dialect.is_async
    if is_synchronous and not event.contains(engine, "engine_connect", _refuse):
        event.listen(engine, "engine_connect", _refuse)
    token = _with_session.set(name)
    try:
        yield
    finally:
        _with_session.reset(token)


def _refuse(connection: Connection) -> None:
    if name := _with_session.get():
        connection.close()
        raise WiringError(SECOND, name)
