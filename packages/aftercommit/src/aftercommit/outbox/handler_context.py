"""Where the handlers of an outbox run: in a context of the application, and with one session."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction, signature
from typing import Any

from sqlalchemy import Connection, Engine, event

from aftercommit.errors import WiringError
from aftercommit.handler_entries import Entry, handler_of

NewContext = Callable[[], AbstractContextManager[Any]]

SECOND = (
    "a handler that asks for `session` has connected by the engine of the application, as sessions"
    " of a registry do, such as db.session: what they write is not committed with the delivery. Use"
    " the session that it is given, or look things up in a handler that asks for none. It is"
)

_with_session: ContextVar[str | None] = ContextVar("with_session", default=None)


def in_context(entry: Entry[Any, Any], context: NewContext) -> Entry[Any, Any]:
    """Return an entry whose handlers run in a context of the application, a new one each time."""
    return replace(entry, handlers=tuple(_subscriber(each, context) for each in entry.handlers))


def _subscriber(subscriber: Any, context: NewContext) -> Any:
    handler = handler_of(subscriber)
    if not iscoroutinefunction(handler):  # PUBLISH, or what is refused
        return subscriber
    name = handler.__name__ if "session" in signature(handler).parameters else None

    @wraps(handler)
    async def handle(*args: Any, **kwargs: Any) -> Any:
        with _entered(context, name):
            return await handler(*args, **kwargs)

    return handle if subscriber is handler else replace(subscriber, handler=handle)


@contextmanager
def _entered(context: NewContext, name: str | None) -> Iterator[None]:
    token = _with_session.set(name)
    try:
        with context():
            yield
    finally:
        _with_session.reset(token)


def refuse_second_sessions(engine: Engine) -> None:
    """Let handlers that are given a session connect by this engine no more: it would be lost."""
    if not event.contains(engine, "engine_connect", _refuse):
        event.listen(engine, "engine_connect", _refuse)


def _refuse(connection: Connection) -> None:
    if name := _with_session.get():
        connection.close()
        raise WiringError(SECOND, name)
