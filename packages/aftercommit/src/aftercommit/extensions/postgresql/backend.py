"""PostgreSQL, for the database adapter: see `database/backend.py`."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from typing import Any
from weakref import WeakSet

from anyio import CancelScope, current_time
from sqlalchemy import URL, Connection, Table, literal_column, text
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from aftercommit.database.backend import NOT_GIVEN, DatabaseBackend, GivenEngine, error_text
from aftercommit.database.database_url import PLACES
from aftercommit.database.exceptions import (
    ConnectionLost,
    DatabaseUnavailable,
    StatementFailed,
    StatementRefused,
)
from aftercommit.errors import ConcurrentUpdate, Defect, TransientError, Unavailable
from aftercommit.extensions.postgresql import connections, lane_locks
from aftercommit.extensions.postgresql.asyncpg_delivery_store import AsyncpgDeliveryStore
from aftercommit.extensions.postgresql.notifications import (
    Notifier,
    background_task,
    channel_of,
    listen,
)
from aftercommit.extensions.postgresql.poolers import count_connections, sessions_are_shared
from aftercommit.extensions.postgresql.single_statements import CONNECTIONS, SingleStatements
from aftercommit.extensions.postgresql.timeouts import FINAL_SECONDS, Timeouts

# SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
RACES = {"40001", "40P01"}  # a failed serialization, a deadlock
INTEGRITY = "23"
UNSUITABLE = {"23502", "23514"}  # NULL where it is not allowed, and a CHECK
PERMANENT = {"22", "42", "54"}  # data exception, syntax error, program limit exceeded
OUTAGES = {
    *("08", "53", "58"),  # connection, resources, system
    *("57P01", "57P02", "57P03", "57P04", "57P05"),  # shutdown, crash, start, no database, idle
    *("25006", "55P03"),  # read-only, and a lock that is not free in time
}
"""What passes without a change of the program is not counted as an attempt; all else is."""
AT_CONNECTING = {"28", "3D"}  # login, no such database: outages, too, if there was no statement
SHARED = {"26000", "42P05"}  # another session's prepared statement is missing, or already exists
READ_ONLY = "25006"
TOO_LONG = {"57014", "25P03", "25P04"}  # a statement; a pause, or all of a transaction
HINTS = {
    READ_ONLY: " (this server is a standby, or default_transaction_read_only is on)",
    "25P03": " (this process stood still: it was frozen, or got no processor time)",
    "55P03": " (another session holds a lock on it; pg_blocking_pids() shows which)",
    "57014": " (it waited for another session, or has too much work)",
}
UNUSED_ISOLATION = (
    "the default isolation of the database, {}, is not used: handlers run at READ COMMITTED; one"
    " that decides by other rows than it writes has to lock them, or to rely on a constraint"
)
TIMED_OUT = "it did not answer in time; is this the right host and port?"
SESSION_ENDED = "the server has ended the session"
SWALLOWED = (
    "a handler has swallowed an error of the database, after which PostgreSQL refuses all else in "
    "its transaction; use begin_nested() for statements that may fail"
)
OLD_PLAN = {"InvalidCachedStatementError", "RevalidateCachedQuery"}  # texts are translated
NOT_ASKED = "InternalClientError"  # asyncpg knew before it was asked


class UnsuitableDatabase(Unavailable):
    """The database cannot hold all data, because of how it was created."""

    retryable = False

    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"the database {problem}; {advice}")


class SharedSessions(Unavailable):
    """A pooler gives one session to several clients in turn, such as by transaction pooling."""

    def __init__(self) -> None:
        super().__init__(
            "the database is behind a pooler that shares sessions: notifications get lost, and time"
            " limits hold for others; use pool_mode=session, or connect to the server itself. Only"
            " sessions that record in an outbox may use it, if the outbox has the server's own URL"
        )


class PermissionDenied(Unavailable):
    """The user of the database lacks a right that the program needs."""

    retryable = False

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database refuses: {reason}; GRANT the user that right")


class StatementTimeout(TransientError):  # noqa: N818 - the name is the fact
    """The server has stopped a statement that took too long.

    The server is up, so the attempt counts.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the database is not available: {reason}")


_POSITIONS = "aftercommit_events_position"
ADVANCE_POSITIONS = [
    text(f"SELECT pg_advisory_xact_lock(hashtext('{_POSITIONS}'), 0)"),
    text(
        f"""
        SELECT setval('{_POSITIONS}', now.position)
        FROM (
            SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS position
        ) AS now
        WHERE now.position > coalesce(pg_sequence_last_value('{_POSITIONS}'), 0) + 1000000
            AND has_sequence_privilege('{_POSITIONS}', 'UPDATE')
            AND current_setting('transaction_read_only') = 'off'
        """
    ),
]
"""Positions begin at the time in microseconds with each start of a process.

A sequence that was restored with a backup would give out again what it had given out since then,
and receivers would take new events for old ones. By the time, it is always beyond that, since fewer
than a million events are stored in a second.
"""
MAY_NOT_ADVANCE = text(
    f"""
    SELECT current_user FROM pg_class
    WHERE oid = to_regclass('{_POSITIONS}') AND NOT has_sequence_privilege(oid, 'UPDATE')
    """
)
FIXED_POSITIONS = (
    "after the restore of a backup, new events would get a `sequence` that others have seen before,"
    f" since the user may not move it: GRANT UPDATE ON SEQUENCE {_POSITIONS} TO {{}}"
)


class PostgreSQL(DatabaseBackend):
    """A server, which may not answer, or refuse, or restart at any time."""

    asyncio_drivers = connections.DRIVERS
    trio_drivers = ("psycopg", "anyio")
    url_options = connections.OPTIONS | PLACES.keys()
    # not clock_timestamp(), which may change within a statement, so that no index can be used
    clock = "extract(epoch FROM statement_timestamp())::double precision"
    no_statement_timeout = text(  # but locks come soon or never, and a living process goes on
        "SELECT set_config('statement_timeout', '0', true),"
        " set_config('lock_timeout', '30s', true),"
        " set_config('idle_in_transaction_session_timeout', '60s', true)"
    )
    advance_positions = ADVANCE_POSITIONS
    lock_lanes, try_lanes = lane_locks.LOCK, lane_locks.TRY
    wait_shortly = text("SET LOCAL lock_timeout = '500ms'")
    end_if_idle = (literal_column("set_config('idle_in_transaction_session_timeout', '5s', true)"),)
    allow_idle = text("SET LOCAL idle_in_transaction_session_timeout = '1h'")

    def __init__(self, url: URL, *, handler_timeout: float) -> None:
        self._url = url
        self._timeouts = Timeouts(handler_timeout)
        self._longest_call = inf
        self._read_only_at = -inf  # when the server last refused writes
        self._calls: WeakSet[CancelScope] = WeakSet()  # the current ones, and maybe some more

    def new_engine(
        self,
        application: str,
        process: str,
        *,
        given: GivenEngine = NOT_GIVEN,
        pool_size: int = 0,
        **options: Any,
    ) -> AsyncEngine:
        self._application = application
        named, options["pool_size"] = (application, process), pool_size + CONNECTIONS
        engine = connections.new_engine(
            self._url, self._timeouts, *named, given=given, is_stale=self.is_stale, **options
        )
        self._statements = SingleStatements(self, engine, self.is_stale)
        notify = f"NOTIFY {channel_of(application)}"
        if engine.dialect.driver == "asyncpg":
            self.delivery_store = partial(AsyncpgDeliveryStore, self._statements)
            self._notifier = Notifier(partial(self._statements.fetch, notify))
        else:
            self._notifier = Notifier(partial(self.connect, partial(_execute, engine, notify)))
        return engine

    @asynccontextmanager
    async def lifespan(self, engine: AsyncEngine) -> AsyncIterator[None]:
        try:
            async with background_task(self._notify_until_cancelled) as self._background:
                yield
        finally:
            await self._notifier.send()
            await self._statements.aclose()

    async def _notify_until_cancelled(self) -> None:
        try:
            await self._notifier.run()
        finally:  # rather than wait for a server that does not answer
            self._longest_call = FINAL_SECONDS
            for scope in self._calls:
                scope.deadline = min(scope.deadline, current_time() + FINAL_SECONDS)

    def start_soon(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._background.start_soon(function)

    def is_stale(self, made_at: float) -> bool:
        """Tell connections to a server that refuses writes: after a failover, another takes them.

        Only a new connection reaches the server that accepts writes now.
        """
        return made_at <= self._read_only_at

    def prepare_upgrade(self, connection: Connection) -> None:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            problem = f"stores text as {encoding}, which lacks characters"
            raise UnsuitableDatabase(problem, "create it with ENCODING 'UTF8' TEMPLATE template0")
        lock = "pg_advisory_xact_lock(hashtext('aftercommit'), hashtext(current_schema()))"
        connection.execute(text(f"SELECT {lock}"))  # even for users who do not own the schema

    def capacity(self, connection: Connection) -> str:
        used = "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        most, now = connection.execute(
            text(f"SELECT setting, {used} FROM pg_settings WHERE name = 'max_connections'")
        ).one()
        return f"; the server takes {most}, and has {now}"

    async def check_sessions(self, engine: AsyncEngine, connections: int | None = None) -> None:
        if await sessions_are_shared(engine):
            raise SharedSessions
        if connections is None:
            return
        usable = await count_connections(engine, connections, self.connect)
        if usable < connections:
            raise UnsuitableDatabase(
                f"gave {usable} of the {connections} connections that a process may need",
                "raise max_connections of the server, or default_pool_size of its pooler",
            )

    def shortcomings(self, connection: Connection) -> Mapping[str, str]:
        name = "default_transaction_isolation"
        default = text("SELECT reset_val FROM pg_settings WHERE name = :name")
        level = connection.execute(default, {"name": name}).scalar_one()
        user = connection.execute(MAY_NOT_ADVANCE).scalar_one_or_none()
        found = {}
        if level != connections.SESSION[name]:
            found["isolation"] = UNUSED_ISOLATION.format(level)
        if user is not None:
            found["sequence"] = FIXED_POSITIONS.format(user)
        return found

    def notify_workers(self) -> None:
        self._notifier.notify()

    def listen(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[object]:
        check_every = self._timeouts.response
        return background_task(partial(listen, self, engine, self._application, wake, check_every))

    def call_scope(self, now: float, *, no_timeout: bool = False) -> CancelScope:
        # when it is over, SQLAlchemy drops the connection, and the driver hangs up silently
        seconds = min(inf if no_timeout else self._timeouts.response, self._longest_call)
        scope = CancelScope(shield=True, deadline=now + seconds)
        self._calls.add(scope)
        return scope

    def insert(self, table: Table) -> Insert:
        return insert(table)

    def violated(self, error: IntegrityError, tables: Iterable[Table]) -> str | None:
        cause: Any = error.orig
        if str(getattr(cause, "sqlstate", "")) in UNSUITABLE:
            raise StatementRefused(error_text(error)) from error
        details = getattr(cause, "diag", None) or cause.__cause__  # of psycopg, and of asyncpg
        return getattr(details, "constraint_name", None)

    def translate(self, error: Exception) -> Exception:
        cause = getattr(error, "orig", None) or error
        state, reason = str(getattr(cause, "sqlstate", None) or ""), error_text(error)
        if state == READ_ONLY:
            self._read_only_at = current_time()
        if isinstance(error, TimeoutError):
            return ConnectionLost(TIMED_OUT)  # the outcome of a commit is unknown
        if NOT_ASKED in (type(error).__name__, type(cause.__cause__).__name__):
            return ConnectionLost(SESSION_ENDED)
        if isinstance(error, ConnectionError):
            return ConnectionLost(reason)
        function = getattr(getattr(cause, "diag", None), "source_function", None)  # of psycopg
        if OLD_PLAN & {type(cause).__name__, type(cause.__cause__).__name__, function}:
            return ConcurrentUpdate("a migration has changed the columns of a prepared statement")
        is_lost = getattr(error, "connection_invalidated", False) and state not in RACES | TOO_LONG
        if not state or state[:2] == INTEGRITY or is_lost:
            return super().translate(error)
        if state[:2] in AT_CONNECTING and getattr(error, "statement", None) is None:
            return DatabaseUnavailable(reason)
        return _meaning(state, reason + HINTS.get(state, ""))


async def _execute(engine: AsyncEngine, sql: str) -> None:
    """Execute a statement that is its own transaction, on a connection of the pool."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(sql))


def _meaning(state: str, reason: str) -> Exception:
    """Return the error that means what the server answered."""
    match state:
        case "40001":
            return ConcurrentUpdate()
        case "40P01":
            return ConcurrentUpdate("this transaction and another one waited for each other")
        case "25P02":
            return Defect(SWALLOWED)
        case "57014" | "25P03" | "25P04":
            return StatementTimeout(reason)
        case "42501":
            return PermissionDenied(reason)
    if state in SHARED:
        return SharedSessions()
    if state[:2] in PERMANENT:
        return StatementRefused(reason)
    return (DatabaseUnavailable if {state, state[:2]} & OUTAGES else StatementFailed)(reason)
