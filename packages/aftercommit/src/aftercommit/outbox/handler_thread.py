"""Handlers made with `def`: each attempt runs in a thread of its own, with a `Session`.

It is the session of the delivery. SQLAlchemy passes every awaitable to the parent of its greenlet,
as in `AsyncSession.run_sync`; here the thread passes it to the task of the attempt, which awaits it
on the event loop. So all statements go over the connection of the delivery, within its limits, and
the engine needs to know nothing of threads: for it, the handler is an `async` one.

A thread cannot be cancelled. If its attempt ends first, the transaction is rolled back, and the
thread's next statement raises an error; but until then, or without one, the thread goes on.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import replace
from functools import partial, wraps
from inspect import (
    isasyncgenfunction,
    iscoroutinefunction,
    isfunction,
    isgeneratorfunction,
    ismethod,
    unwrap,
)
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any

import anyio
from anyio.lowlevel import current_token
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.orm import Session
from sqlalchemy.util.concurrency import greenlet_spawn

from aftercommit.claims import Claim
from aftercommit.database.backend import error_text
from aftercommit.database.connection_guard import OPTION, HandlerGuard
from aftercommit.database.exceptions import ConnectionLost
from aftercommit.envelopes import current_context
from aftercommit.errors import Unavailable, UnexpectedAnswer, WiringError
from aftercommit.handler_binding import BoundHandler
from aftercommit.handler_entries import PUBLISH, Entry, changed

MAX_ABANDONED = 20  # threads of a process that go on after their attempts; then none is begun
TOO_LATE = (
    "the attempt of this handler ended before the handler did, and its transaction was rolled back"
)

AWAITS_SESSION = (
    "deliver_sync has a Session, which handlers made with `async def` cannot await. Make them with "
    "`def`, or deliver with `await outbox.deliver(…)` in an AsyncSession"
)

INVALIDATED = "leave it out of handlers: the delivery uses the same connection"

NO_FUNCTION = (
    "handlers have to be functions with a name, made with `def` or `async def`, not generators, "
    "and not a `def` that a decorator has put around an `async def`. These are not"
)

logger = logging.getLogger(__name__)

ROLLBACK_SECONDS = 5.0

_abandoned = set[Thread]()  # in this process; those of a forked parent are not alive


class ThreadsHang(Unavailable):
    """Too many handlers go on in their threads after their time limit: no other one begins."""

    def __init__(self, handler: str, hanging: Sequence[str]) -> None:
        names = ", ".join(sorted({*hanging}))
        super().__init__(
            f"{handler} was not begun: {len(hanging)} threads of handlers go on after their time, "
            f"of {names}. Give their calls time-outs, and restart this process"
        )


def with_threads(entries: Sequence[Entry[Any, Any]]) -> list[Entry[Any, Any]]:
    """Return the entries of a table with handlers made with `def` replaced by `async` ones.

    :raises WiringError: for something that is no handler
    """
    made = dict[Any, Any]()

    def run_in_thread(handler: Any) -> Any:
        if handler is PUBLISH or iscoroutinefunction(handler):
            return handler
        if not _is_function(handler):
            raise WiringError(NO_FUNCTION, repr(handler))
        return made.setdefault(handler, in_thread(handler))

    given: Sequence[Any] = entries
    return [
        replace(entry, handlers=tuple(changed(each, run_in_thread) for each in entry.handlers))
        if isinstance(entry, Entry)
        else entry
        for entry in given
    ]


def in_thread(handler: Callable[..., object]) -> Callable[..., Awaitable[object]]:
    """Return an `async` handler that runs this one in a thread, with the same arguments."""

    @wraps(handler)
    async def run(message: object, /, **given: Any) -> object:
        connection = None
        if (session := given.get("session")) is not None:
            given["session"] = session.sync_session
            connection = _of_delivery(session.sync_session.bind)
        call = partial(copy_context().run, handler, message, **given)
        return await HandlerThread(handler.__name__, call, connection).run()

    vars(run)["synchronous"] = handler
    return run


def synchronous_of(handler: Any) -> Callable[..., object] | None:
    """Return the function that such an `async` handler runs; None for any other handler."""
    found: Callable[..., object] | None = getattr(handler, "synchronous", None)
    return found


def run_here(handler: BoundHandler, claim: Claim, session: Session) -> None:
    """Run a handler in a session of synchronous code; if it is `async`, on an event loop.

    :raises WiringError: if an `async` handler asks for a session
    """
    if synchronous := synchronous_of(handler.handler):
        uow = SimpleNamespace(session=session)
        made = {name: make(claim, uow) for name, make in handler.made.items()}
        if (answer := synchronous(claim.message, **handler.given, **made)) is not None:
            raise UnexpectedAnswer(handler.name, answer)
    elif handler.is_transactional:
        raise WiringError(AWAITS_SESSION, handler.name)
    else:

        async def run() -> None:
            current_context.set(claim.context)
            await handler.run(claim, None)

        with ThreadPoolExecutor(1) as executor:  # an event loop may be running here
            executor.submit(anyio.run, run).result()


def soon_in_this_loop() -> Callable[[Callable[[], object]], object]:
    """Return a function by which any thread has this task's event loop call something soon."""
    token: Any = current_token().native_token
    soon: Callable[[Callable[[], object]], object]
    soon = getattr(token, "call_soon_threadsafe", None) or token.run_sync_soon
    return soon


class HandlerThread:
    """One attempt in a thread. The thread and the task of the attempt take turns.

    It is a daemon thread and not one of an executor's, so that one that never ends cannot keep its
    process alive.
    """

    def __init__(
        self, name: str, call: Callable[[], object], connection: Connection | None
    ) -> None:
        self._name, self._call, self._connection = name, call, connection
        self._soon, self._posted = soon_in_this_loop(), anyio.Event()
        self._asked: Awaitable[Any] | None = None
        self._replies = SimpleQueue[tuple[Any, Exception | None] | None]()  # None: too late
        self._outcome: tuple[Any, BaseException | None] | None = None
        self._is_abandoned = False
        self._thread = Thread(target=self._work, name=f"aftercommit {name}", daemon=True)

    async def run(self) -> object:
        """Return what the handler returns, or raise what it raises.

        :raises ThreadsHang: if too many threads of this process are abandoned; then this one has
            not begun
        """
        if len(hanging := _hanging()) >= MAX_ABANDONED:
            raise ThreadsHang(self._name, hanging)
        self._thread.start()
        try:
            while self._outcome is None:
                await self._posted.wait()
                self._posted = anyio.Event()
                if asked := self._asked:
                    self._asked = None
                    self._replies.put(await _settled(asked))
        finally:
            if self._outcome is None:
                self._abandon()
                if self._connection:
                    await _roll_back(self._connection)
        value, error = self._outcome
        try:
            if error is not None:
                raise error
            return value
        finally:
            del error, self._outcome  # otherwise, the error would keep itself alive

    def _abandon(self) -> None:
        self._is_abandoned = True
        self._replies.put(None)
        _abandoned.add(self._thread)
        logger.warning(
            "%s goes on in its thread, although its attempt has ended. It changes nothing in the "
            "delivery's session from now on; its other effects may overlap with the next attempt's "
            "(threads that go on: %d; from %d on, no handler made with `def` is begun)",
            self._name,
            len(_hanging()),
            MAX_ABANDONED,
        )

    def _work(self) -> None:
        """Run the handler, in the thread."""
        handler = _HandlerGreenlet(self._call)
        try:
            asked = handler.switch()
            while not handler.dead:
                value, error = self._ask(asked)
                asked = handler.switch(value) if error is None else handler.throw(error)
            self._outcome = asked, None
        except BaseException as error:
            self._outcome = None, error
        if self._is_abandoned:
            self._outcome = None, None  # otherwise, the error would keep itself alive
            logger.info("%s has ended in its thread, too late", self._name)
        self._post()

    def _ask(self, awaitable: Any) -> tuple[Any, Exception | None]:
        """Let the task await something for SQLAlchemy; return its value or its error."""
        self._asked = awaitable
        self._post()
        if reply := self._replies.get():
            return reply
        self._replies.put(None)  # for the next question
        _discard(awaitable)
        is_tidying = getattr(awaitable, "__name__", "") == "close"  # of a cursor, after an error
        return None, None if is_tidying else ResourceClosedError(TOO_LATE)

    def _post(self) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and no task waits
            self._soon(self._posted.set)


class _HandlerGreenlet(greenlet):  # type: ignore[misc]
    """A greenlet whose parent gets everything that SQLAlchemy would await."""

    __sqlalchemy_greenlet_provider__ = True


def _is_function(handler: Any) -> bool:
    """Tell whether this is a function with a name that has done its work when it returns."""
    if not (isfunction(handler) or ismethod(handler)) or not handler.__name__.isidentifier():
        return False
    later = iscoroutinefunction, isgeneratorfunction, isasyncgenfunction
    return not any(of(each) for of in later for each in (handler, unwrap(handler)))


def _discard(awaitable: Any) -> None:
    """Close what nobody will await, to avoid Python's warning; aiosqlite nests two of them."""
    frame = getattr(awaitable, "cr_frame", None)
    inner: Any = getattr(frame and frame.f_locals.get("self"), "_coro", None)
    for each in (awaitable, inner):
        with suppress(AttributeError, RuntimeError):  # it is no coroutine, or has begun
            each.close()


def _hanging() -> list[str]:
    """Return the handlers of the threads that go on after their attempts."""
    alive = list[str]()
    for thread in list(_abandoned):  # a copy: another thread with an event loop may change it
        if thread.is_alive():
            alive.append(thread.name.removeprefix("aftercommit "))
        else:
            _abandoned.discard(thread)
    return alive


async def _settled(awaitable: Awaitable[Any]) -> tuple[Any, Exception | None]:
    try:
        return await awaitable, None
    except Exception as error:
        return None, error


def _of_delivery(connection: Any) -> Connection | None:
    """Return the connection if it belongs to a delivery, not to a test.

    Once, set up its engine to leave the end of connections to the event loop.
    """
    if not (isinstance(connection, Connection) and _guard_of(connection)):
        return None
    if not event.contains(connection.engine, "handle_error", _leave_it_to_the_loop):
        event.listen(connection.engine, "handle_error", _leave_it_to_the_loop)
    invalidate = partial(_invalidate, connection.invalidate)
    connection.invalidate = invalidate  # type: ignore[method-assign]
    return connection


def _invalidate(
    invalidate: Callable[[BaseException | None], None], exception: BaseException | None = None
) -> None:
    """Refuse it in a handler: in its thread, the driver's connection could not be closed.

    :raises WiringError: in a handler
    """
    if isinstance(getcurrent(), _HandlerGreenlet):
        raise WiringError(INVALIDATED, "connection.invalidate()")
    invalidate(exception)


def _guard_of(connection: Connection) -> HandlerGuard | None:
    guard: HandlerGuard | None = connection.get_execution_options().get(OPTION)
    return guard


async def _roll_back(connection: Connection) -> None:
    """Roll back what an abandoned thread has begun; the connection is not used again.

    Closing it is enough for PostgreSQL. SQLite would keep the transaction, and its only write lock,
    as long as the thread keeps a cursor.
    """
    if guard := _guard_of(connection):
        guard.is_reusable = False
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        # not longer: it would wait behind a statement that hangs, and keep its slot
        with anyio.move_on_after(ROLLBACK_SECONDS, shield=True), suppress(Exception):
            await greenlet_spawn(driver.rollback)


def _leave_it_to_the_loop(context: ExceptionContext) -> Exception | None:
    """Keep SQLAlchemy from closing a lost connection: drivers do that in the event loop."""
    if not (context.is_disconnect and isinstance(getcurrent(), _HandlerGreenlet)):
        return None
    context.is_disconnect = False
    if guard := context.connection and _guard_of(context.connection):
        guard.is_reusable = False
    return ConnectionLost(error_text(context.original_exception))
