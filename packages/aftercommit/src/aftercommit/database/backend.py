"""What differs between databases: SQLite's in `sqlite_backend.py`, others' in extensions.

A driver call that is cancelled half-way costs its connection, and may have committed nevertheless.
So cancellation takes effect between calls. Only driver calls are shielded, not tasks in line.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, NamedTuple, TypeVar, TypeVarTuple

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import URL, ColumnElement, Connection, Table, exc, text
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql import Executable

from aftercommit.database.database_url import wrong_url
from aftercommit.database.exceptions import ConnectionLost, DatabaseUnavailable, StatementRefused
from aftercommit.errors import ConcurrentUpdate, TransientError, install_hint

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)


class GivenEngine(NamedTuple):
    """Makes the engine of a database, if the application gives one: see `outbox/own_pool.py`."""

    create: Callable[..., AsyncEngine] = create_async_engine
    connects: bool = False  # like the given one, whatever the URL is
    driver: str = ""  # what `check` says about it
    beside: str = ""  # and of the application's connections


NOT_GIVEN = GivenEngine()


class DatabaseBackend(ABC):
    """One database; what is defined here suits a kind that needs, or can do, nothing special."""

    # as a URL names them, and the extras that install them; the first is the default
    asyncio_drivers: ClassVar[Mapping[str, str]]
    trio_drivers: ClassVar[tuple[str, ...]] = ("anyio",)  # each of them has the dialect `anyio`
    url_options: ClassVar[Set[str]]  # may stand after the ?
    ignored_arguments: ClassVar[Set[str]] = frozenset()  # of drivers: ours set them
    clock: ClassVar[str]  # SQL: the seconds since 1970 when the statement begins
    single_writer: ClassVar[bool] = False  # so that others had better wait in line
    no_statement_timeout: ClassVar[Executable] = text("SELECT 1")  # in this transaction
    position: ClassVar[Mapping[str, Any]] = {}  # of a new event, if the table has no default
    # of events, beyond all that were given out before a restore: a lock, and what needs it
    advance_positions: ClassVar[Sequence[Executable]] = ()
    # where others write at the same time: by `keys`; also those of `tried` that are free
    lock_lanes: ClassVar[Executable | None] = None
    try_lanes: ClassVar[Executable | None] = None
    wait_shortly: ClassVar[Executable] = text("SELECT 1")  # for locks, in this transaction
    # columns of a SELECT: the server ends a transaction that does nothing more for so short a time
    end_if_idle: ClassVar[Sequence[ColumnElement[Any]]] = ()
    delivery_store: Callable[..., Any] | None = None  # makes its own store from the general one
    writes_at_once: bool = True  # what a commit stores, if the driver can; tests try both ways
    allow_idle: ClassVar[Executable] = text("SELECT 1")  # operators may read what it returns

    @abstractmethod
    def __init__(self, url: URL, *, handler_timeout: float) -> None:
        """Take a URL with its driver.

        :raises InvalidValue: if the URL has something that this kind of database does not know
        """

    @abstractmethod
    def new_engine(
        self, application: str, process: str, *, given: GivenEngine = NOT_GIVEN, **options: Any
    ) -> AsyncEngine:
        """Return an engine whose connections are set up; nothing is connected yet.

        It connects as the URL says, or like the engine that was `given`.

        :raises InvalidValue: if its driver is not installed
        :raises ValueError: if an option in the URL has a wrong value
        """

    @abstractmethod
    def insert(self, table: Table) -> Any:
        """Return the dialect's INSERT, which knows ON CONFLICT."""

    def lifespan(self, engine: AsyncEngine) -> AbstractAsyncContextManager[None]:
        """Keep open what is needed while the database is used."""
        return nullcontext()

    def start_soon(  # noqa: B027 - where no lane is locked, nothing is left for later
        self, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run a function in the background until the database is closed."""

    def prepare_upgrade(self, connection: Connection) -> None:  # noqa: B027 - most need not
        """Wait for others that change the schema.

        :raises Unavailable: if the database cannot hold what will be stored
        """

    def begin_upgrade(self, connection: Connection) -> None:  # noqa: B027 - most need not
        """Begin the transaction of migrations again; nothing was done in it yet."""

    def ensure_references(self, connection: Connection) -> None:  # noqa: B027 - others always do
        """Check rows whose references migrations may have broken.

        :raises Unavailable: if a reference is broken; then the upgrade is rolled back
        """

    def capacity(self, connection: Connection) -> str:
        """Return how many connections the database allows, to follow a process's number."""
        return ", which share one file"

    async def check_sessions(  # noqa: B027 - most have nothing between them and their processes
        self, engine: AsyncEngine, connections: int | None = None
    ) -> None:
        """Check that sessions are not shared, and that this many connections are possible.

        :raises Unavailable: if a pooler was seen to share sessions, or if there cannot be as many
        """

    def shortcomings(self, connection: Connection) -> Mapping[str, str]:
        """Return what is not as an operator may believe: a sentence each, by its subject."""
        return {}

    def notify_workers(self) -> None:  # noqa: B027 - not all can
        """Notify listening processes, soon, that deliveries have been committed."""

    def listen(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[object]:
        """Call `wake` when another process has committed deliveries, if the database can notify.

        A call is only a hint: one may be lost, and one comes without reason when it begins to
        listen. It takes a connection in addition to those of transactions; if that is lost, or
        cannot be made, it soon tries again.
        """
        return nullcontext()

    def call_scope(self, now: float, *, no_timeout: bool = False) -> CancelScope:
        """Return the scope for one driver call: shielded, perhaps with a deadline."""
        return CancelScope(shield=True)

    async def connect(self, connecting: Callable[[], Awaitable[T]]) -> T:
        """Connect, or take an idle connection.

        :raises Unavailable: if that fails, whatever the driver raises
        """
        try:
            return await self.call(connecting)
        except TransientError:
            raise
        except Exception as error:
            raise DatabaseUnavailable(error_text(error.__cause__ or error)) from error

    async def call(
        self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts, no_timeout: bool = False
    ) -> T:
        """Call the driver, and wait for its answer even if the task is cancelled meanwhile.

        :raises ConnectionLost: if no answer comes in time, where there is a limit
        :raises Exception: the translation of the driver's error
        """
        await checkpoint_if_cancelled()
        started, cause = current_time(), None
        with self.call_scope(started, no_timeout=no_timeout) as call:
            try:
                return await function(*args)
            except Exception as error:
                if not call.cancel_called:
                    if (ours := self.translate(error)) is error:
                        raise
                    raise ours from error
                cause = error
        logger.warning("the database did not answer; closing the connection")
        await checkpoint_if_cancelled()
        raise ConnectionLost(f"no answer within {call.deadline - started:.3g} s") from cause

    def violated(self, error: exc.IntegrityError, tables: Iterable[Table]) -> str | None:
        """Return the name of the violated constraint, if it is one of these tables'.

        :raises StatementRefused: if the data can never be stored: missing, or out of range
        """
        return None

    def translate(self, error: Exception) -> Exception:
        """Return our error for an error of the driver, or of SQLAlchemy.

        A violated constraint is returned unchanged, because its meaning depends on the statement.
        """
        match error:
            case StaleDataError():
                return ConcurrentUpdate()
            case exc.IntegrityError():
                return error
            case exc.DBAPIError(connection_invalidated=True):
                return ConnectionLost(error_text(error))
            case exc.DataError() | exc.InterfaceError() | exc.ProgrammingError():  # PEP 249
                return StatementRefused(error_text(error))
            case exc.DBAPIError():
                return DatabaseUnavailable(error_text(error))
            case exc.StatementError() | UnicodeError() | OverflowError():  # it cannot be sent
                return StatementRefused(error_text(error))
        return error


@contextmanager
def importing(driver: str, extras: Mapping[str, str]) -> Iterator[None]:
    """Import a driver in the body, which one of the `extras` installs.

    :raises InvalidValue: if it is not installed
    """
    try:
        yield
        return
    except NoSuchModuleError:
        missing = "sqlalchemy-anyio"
    except ImportError as error:
        missing = error.name or "libpq"  # without libpq, psycopg's error has no name
    raise wrong_url(f"needs {missing}; {install_hint(extras[driver])}")


def error_text(error: BaseException) -> str:
    """Return the driver's message in one line."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__
