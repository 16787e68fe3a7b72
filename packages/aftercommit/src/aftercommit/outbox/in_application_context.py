"""Where the handlers of an outbox run: in a context of the application, with only one session."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from contextvars import ContextVar
from dataclasses import replace
from functools import partial, wraps
from inspect import isfunction, ismethod, signature
from typing import Any

from sqlalchemy import Connection, Engine, event

from aftercommit.errors import WiringError
from aftercommit.handler_entries import Entry, changed
from aftercommit.outbox.handler_thread import in_thread, synchronous_of

NewContext = Callable[[], AbstractContextManager[Any] | AbstractAsyncContextManager[Any]]

CANNOT_ENTER = (
    "deliver_sync cannot enter an asynchronous context; await outbox.deliver(…) enters it"
)
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

    Those made with `def` have a thread already: they enter it there, unless it is asynchronous.
    Those that are given a session cannot connect by the engine that is found in the context.
    """

    def enter(handler: Any) -> Any:
        return _in_context(handler, context, find_engine)

    return replace(entry, handlers=tuple(changed(each, enter) for each in entry.handlers))


def _in_context(handler: Any, context: NewContext, find_engine: Callable[[], object]) -> Any:
    if not (isfunction(handler) or ismethod(handler)):  # PUBLISH, or something that is refused
        return handler
    name = handler.__name__ if "session" in signature(handler).parameters else None
    alone = partial(_alone, name, find_engine)
    if synchronous := synchronous_of(handler):
        return _threaded(synchronous, context, alone)

    @wraps(handler)
    async def handle(*args: Any, **given: Any) -> Any:
        async with _on_loop(context()) as made:
            with made, alone():
                return await handler(*args, **given)

    return handle


def _threaded(
    handler: Callable[..., object],
    context: NewContext,
    alone: Callable[[], AbstractContextManager[None]],
) -> Callable[..., Any]:
    """Return an `async` handler for one made with `def`, as `in_thread` does."""

    def within(made: AbstractContextManager[Any]) -> Callable[..., object]:
        @wraps(handler)
        def run(*args: Any, **given: Any) -> object:
            with made, alone():
                return handler(*args, **given)

        return run

    @wraps(handler)
    async def handle(*args: Any, **given: Any) -> object:
        async with _on_loop(context()) as made:
            return await in_thread(within(made))(*args, **given)

    @wraps(handler)
    def handle_here(*args: Any, **given: Any) -> object:
        if not isinstance(made := context(), AbstractContextManager):
            raise WiringError(CANNOT_ENTER, handler.__name__)
        return within(made)(*args, **given)

    vars(handle)["synchronous"] = handle_here
    return handle


@asynccontextmanager
async def _on_loop(made: Any) -> AsyncIterator[AbstractContextManager[Any]]:
    """Enter an asynchronous context; give any other one, to be entered by the handler's thread."""
    if isinstance(made, AbstractContextManager):
        yield made
    else:
        async with made:
            yield nullcontext()


@contextmanager
def _alone(name: str | None, find_engine: Callable[[], object]) -> Iterator[None]:
    """Keep a handler with a session, given by its name, from another synchronous connection."""
    engine = find_engine() if name else None
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
