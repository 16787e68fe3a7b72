"""The outbox for an application that opens its own SQLAlchemy sessions.

    outbox = Outbox("shop", engine, [on(OrderPlaced, reserve_stock, send_receipt)])

    async with outbox.running():  # in the lifespan of the application
        async with AsyncSession(engine) as session, session.begin():
            session.add(order)
            await outbox.record(session, OrderPlaced(order_id=order.id), about=order.id)

Events are stored in the session's transaction, with deliveries that are due at once, which a worker
finds in the database. So savepoints, rollbacks, a second commit, a cancelled request, or a COMMIT
without an answer need no extra code. A commit wakes the worker of its own process. On PostgreSQL it
also notifies other processes, if its own is inside `running()`. Others poll once a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from datetime import timedelta
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from anyio.lowlevel import current_token
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from aftercommit.clock_and_ids import SYSTEM, Sources
from aftercommit.codec import Upcasters
from aftercommit.errors import WiringError
from aftercommit.extensions.metrics import MetricsExtension
from aftercommit.extensions.opened_outbox import OpenedHere, in_web_application
from aftercommit.extensions.operations import OperationsExtension
from aftercommit.extensions.operations.subject_lookup import as_written
from aftercommit.extensions.postgresql import PostgreSQLExtension
from aftercommit.giving_up import Reason
from aftercommit.handler_entries import Entry
from aftercommit.outbox.caller_session import CallerSessions, expect_async, expect_sync
from aftercommit.outbox.engine_of_application import EngineSource
from aftercommit.outbox.handler_session import NO_TIME
from aftercommit.outbox.handler_thread import run_here
from aftercommit.outbox.in_application_context import NewContext
from aftercommit.outbox.outbox_app import OutboxApp
from aftercommit.outbox.running_here import running_here
from aftercommit.outbox.worker_thread import WorkerThread
from aftercommit.outbox.workers_here import WorkersHere
from aftercommit.process.parts import NOTHING, Extension
from aftercommit.process.worker import WORKER_SETTINGS
from aftercommit.schedules import Every

if TYPE_CHECKING:
    from fastapi import APIRouter, Request
    from starlette.types import ASGIApp

EXTENSIONS: Sequence[Extension] = (
    PostgreSQLExtension(),
    OperationsExtension(as_written),
    MetricsExtension(),
)


class Outbox:
    """Stores events in sessions of the application, and delivers them to their handlers.

    `name` is the application's: variables such as `SHOP_LOG_LEVEL` and the names of database
    sessions begin with it, and a schema belongs to one name. `settings` override variables.

    `engine` is the application's: an `AsyncEngine`, an `Engine`, or a function that returns one.
    Handlers get its serializers, listeners, execution options and search path, but connections of
    their own, at most `pool_size` and six more, so that no request waits for them. A function is
    called when the outbox is first used, and again by each `running()`, so that a test can patch
    the engine. For an `Engine`, and for an `AsyncEngine` whose driver does not work on this event
    loop, another driver is used: asyncpg, of the extra `postgresql`, or aiosqlite. It cannot use a
    `creator`, connection arguments other than libpq's, or listeners to connections: these are
    refused at start.

    With an engine, some things differ from a URL. Listeners are called for handlers if they were
    added before `running()` begins. An `isolation_level` is not used: handlers run at READ
    COMMITTED. A new SQLite file has the usual permissions, and is not readable by its owner only.
    The engine's arguments decide how long connecting may take.

    Instead of an engine, pass a URL or a function that returns one. `SHOP_DATABASE_URL` overrides a
    URL. An engine overrides that variable, which is refused if it names another database.

    `context` returns a context manager, such as Flask's `app.app_context`: the function for the
    engine is called in one, unless it is asynchronous, and each handler runs in one. A handler that
    asks for `session` cannot connect through an `Engine` of the application, as `db.session` does,
    because its changes would not be committed with the delivery; it gets a WiringError.

    `events` are the entries of the table of handlers. A handler that asks for `session` gets one
    that the engine commits together with the delivery, so it takes effect exactly once. A handler
    without it has its external effect at least once, with the same `idempotency_key`. Objects with
    external effects are `ports`; a handler asks for `session` or for ports. Objects without any
    effect are `values`. `every` has the schedules: each makes an event of its times. A test passes
    its own `sources`.

    A handler made with `async def` gets an `AsyncSession`. A handler made with `def` runs in a
    thread and gets a `Session`, whose statements the event loop executes; a table may have both.
    `session` makes the handlers' sessions: it is a class of one of the two, or the application's
    `sessionmaker`, `async_sessionmaker` or registry, without `binds` or a `get_bind` that chooses
    engines. A thread cannot be stopped: `docs/guarantees.md` says what happens after its time.

    :raises WiringError: if a handler cannot work, for example because it asks for something unknown

    >>> import anyio, dataclasses
    >>> from aftercommit import Outbox, on, sqlite
    >>> from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
    >>> @dataclasses.dataclass(frozen=True)
    ... class OrderPlaced:
    ...     order_id: int
    >>> async def confirm(event: OrderPlaced) -> None:
    ...     print(f"order {event.order_id} is confirmed")
    ...     confirmed.set()
    >>> engine = create_async_engine("sqlite+aiosqlite:///shop.db")
    >>> sqlite.prepare(engine)
    >>> outbox = Outbox("shop", engine, [on(OrderPlaced, confirm)])
    >>> confirmed = anyio.Event()
    >>> async def main():
    ...     async with outbox.running(), AsyncSession(engine) as session:
    ...         await outbox.record(session, OrderPlaced(7), about=7)
    ...         await session.commit()
    ...         await confirmed.wait()
    ...     await engine.dispose()
    >>> anyio.run(main)
    order 7 is confirmed
    """

    def __init__(
        self,
        name: str,
        engine: EngineSource,
        events: Sequence[Entry[object, None]],
        *,
        context: NewContext = nullcontext,
        ports: Mapping[str, Any] = NOTHING,
        values: Mapping[str, Any] = NOTHING,
        session: Callable[..., AsyncSession | Session] = AsyncSession,
        upcasters: Upcasters = MappingProxyType({}),
        aliases: Mapping[type[Any], str] = MappingProxyType({}),
        renamed: Mapping[str, str] = MappingProxyType({}),
        every: Sequence[Every[object]] = (),
        extensions: Sequence[Extension] = EXTENSIONS,
        sources: Sources = SYSTEM,
        **settings: Any,
    ) -> None:
        self.app = OutboxApp(
            name,
            engine,
            events,
            context=context,
            ports=ports,
            values=values,
            session=session,
            upcasters=upcasters,
            aliases=aliases,
            renamed=renamed,
            every=every,
            extensions=extensions,
            sources=sources,
            settings=settings,
        )
        self._workers, self._opened = WorkersHere(), OpenedHere()
        self._sessions = CallerSessions(self.app, self._workers)

    async def record(
        self, session: AsyncSession | async_scoped_session[Any], *events: object, about: object
    ) -> None:
        """Store events `about` something in a session, with a delivery for each of their handlers.

        They are delivered when the session's transaction is committed. In a handler, use its
        session.

        An id that the database generates exists only after `await session.flush()`. A session with
        several binds stores events over the connection that writes; the commit raises a WiringError
        if another of its connections has written, too.

        NaN and infinity are null in JSON: a field of type float refuses them, and in a field of
        type `float | None` they become None.

        :raises WiringError: if the table has no entry for such an event, if the session has another
            database or none, if it cannot be rolled back (AUTOCOMMIT), or if it is on SQLite and
            this process was forked from one with a worker
        :raises InvalidPayload: if an event is too long, if JSON cannot hold a value, if a value has
            not the annotated type, or if the key of an ordered handler is None
        :raises InvalidValue: if it is about None, an empty text, or something that is no id
        """
        given = expect_async(session, "record")
        await given.run_sync(self._sessions.record, events, about)

    def record_sync(
        self, session: Session | scoped_session[Any], *events: object, about: object
    ) -> None:
        """Do the same as `record` in a session of synchronous code."""
        self._sessions.record(expect_sync(session, "record"), events, about)

    async def once(
        self,
        session: AsyncSession | async_scoped_session[Any],
        source: str,
        message_id: str | UUID,
    ) -> bool:
        """Note a message in a session, and return whether it is new.

        If the same message arrives twice at once, the second call waits for the transaction of the
        first, so its result is right. Call it first. A rolled back message counts as new again.
        Events recorded in the same transaction belong to it: `aftercommit trace` finds them.

        :raises InvalidValue: if the source or the id is missing or empty
        :raises WiringError: as `record` does for a session
        """
        given = expect_async(session, "once")
        return await given.run_sync(self._sessions.once, source, message_id)

    def once_sync(
        self, session: Session | scoped_session[Any], source: str, message_id: str | UUID
    ) -> bool:
        """Do the same as `once` in a session of synchronous code."""
        return self._sessions.once(expect_sync(session, "once"), source, message_id)

    async def deliver(
        self,
        session: AsyncSession | async_scoped_session[Any],
        *,
        after: timedelta = NO_TIME,
        giving_up: Mapping[str, Reason] = NOTHING,
    ) -> int:
        """Run the handlers of due deliveries in this session until none is due; return how many.

        For tests: nothing is committed, so that a fixture can roll everything back. A handler's
        error is raised here. Ports have their effects. Handlers made with `def` run in threads.

        The time `after` passes first: what is stored becomes older, and `now` of handlers later,
        as long as the session is used. Of handlers in `giving_up`, only what happens instead runs,
        as when they have failed for that reason: `giving_up={"charge_card": "refused"}`.
        """
        given, count = expect_async(session, "deliver"), 0
        due = await given.run_sync(self._sessions.due, after, giving_up)
        with self.app.later(due.passed):
            while claim := await given.run_sync(lambda _: due.take()):
                with due.attempt(claim) as handler:
                    await handler.run(claim, SimpleNamespace(session=given))
                await given.run_sync(lambda _, done: due.complete(done), claim)
                count += 1
        return count

    def deliver_sync(
        self,
        session: Session | scoped_session[Any],
        *,
        after: timedelta = NO_TIME,
        giving_up: Mapping[str, Reason] = NOTHING,
    ) -> int:
        """Do the same as `deliver` in a session of synchronous code.

        Handlers made with `def` run in this thread; `async` ones, each on an event loop.

        :raises WiringError: if an `async` handler is due that asks for a session, which it could
            not await
        """
        due, count = self._sessions.due(expect_sync(session, "deliver"), after, giving_up), 0
        with self.app.later(due.passed):
            while claim := due.take():
                with due.attempt(claim) as handler:
                    run_here(handler, claim, due.session)
                due.complete(claim)
                count += 1
        return count

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run a worker in this process, on its own connections, as long as the context is open.

        The services of extensions run beside it: those of operators warn of what no process can
        run, and delete what is older than `retention_days`, if that is set.

        At the end, running handlers have `shutdown_grace_seconds` to finish; then they are
        cancelled, and their claims released, due at once for other workers. A handler that catches
        its cancellation is waited for. Missing tables are created. Outdated ones are refused:
        upgrade them with `aftercommit db upgrade MODULE:OUTBOX`.

        :raises Unavailable: if the database cannot be used at start; later, the worker waits for it
        :raises HandlerInterrupted: if somebody cancels the worker's tasks; so is the body
        """
        async with running_here(self.app, self._workers, self._opened):
            yield

    @contextmanager
    def running_sync(self) -> Iterator[None]:
        """Do the same as `running` in a process without an event loop: the worker gets a thread.

        A child forked meanwhile, as by `gunicorn --preload`, has no worker at first. It gets one
        with its first commit of recorded events, and ends it when it leaves this context. On
        SQLite, whose connections do not survive a fork, the child's sessions are refused. If the
        main thread ends without leaving, the worker stops, too. If an error ends the worker's event
        loop, which is logged, the next commit starts another one.

        :raises WiringError: if this thread runs an event loop, which would be blocked
        """
        with suppress(RuntimeError):
            current_token()
            raise WiringError("running_sync is for code without an event loop; here", "running()")
        settings = self.app.load(WORKER_SETTINGS)
        thread = WorkerThread(self.running, event_loop=settings.event_loop)
        with self._workers.with_thread(thread):
            yield

    def page_router(self, guard: Callable[..., Any] | None = None) -> APIRouter:
        """Return the page as a router of FastAPI: `app.include_router(…, prefix="/outbox")`.

        `guard` is a dependency that returns the name of who is asking, or raises. Decisions made on
        the page carry that name. Without a guard, nobody is let in.

        :raises WiringError: if the extra `page` is not installed
        """
        page_router = in_web_application("page.mounted:page_router")
        router: APIRouter = page_router(self.app, self._opened, guard)
        return router

    def page(self, guard: Callable[[Request], Awaitable[str]] | None = None) -> ASGIApp:
        """Return the page as an ASGI application: `app.mount("/outbox", …)` in Starlette, say.

        `guard` takes the request, and returns or raises as that of `page_router` does. A request
        that changes something has to come from the page itself, for everybody. Outside of
        `running()` in this process and event loop, the answer is 503.

        :raises WiringError: as `page_router`
        """
        mounted_page = in_web_application("page.mounted:MountedPage")
        page: ASGIApp = mounted_page(self.app, self._opened, guard)
        return page

    def metrics(self, guard: Callable[[Request], Awaitable[str]] | None = None) -> ASGIApp:
        """Return the metrics as an ASGI application: `Route("/metrics", …)` in Starlette, say.

        They do not depend on which of several processes answers. So these are the gauges, which
        come from the database. If the variable PROMETHEUS_MULTIPROC_DIR names a directory, counters
        and histograms are added, summed over all processes that count there.

        `guard` is as that of `page`. Without one, nobody is let in.

        :raises WiringError: if the extra `web`, or the extension `metrics`, is missing
        :raises InvalidValue: if that directory does not exist
        """
        self.app.extension(MetricsExtension)
        mounted_metrics = in_web_application("web.mounted_metrics:MountedMetrics")
        metrics: ASGIApp = mounted_metrics(self.app, self._opened, guard)
        return metrics
