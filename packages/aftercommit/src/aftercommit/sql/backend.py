"""What has to be known of a database: for SQLite in `sqlite_backend.py`, for others in extensions.

A call of the driver that is cancelled half-way costs its connection, and may have committed all the
same. So cancellation is seen between calls. Only the driver is shielded: a task that waits in line
is not.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Set
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, TypeVar, TypeVarTuple

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint_if_cancelled
from sqlalchemy import URL, Connection, Table, exc, text
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.sql import Executable

from aftercommit.errors import ConcurrentUpdate, TransientError, install_hint
from aftercommit.sql.database_url import wrong_url
from aftercommit.sql.exceptions import ConnectionLost, DatabaseUnavailable, StatementRefused
from aftercommit.sql.given_engine import NOT_GIVEN, GivenEngine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)


class DatabaseBackend(ABC):
    """One database; what its kind need not do, or cannot, is as it is here."""

    # as a URL names them, and the extras that bring them; the first is the default
    asyncio_drivers: ClassVar[Mapping[str, str]]
    trio_drivers: ClassVar[tuple[str, ...]] = ("anyio",)  # each of them is the dialect `anyio`
    url_options: ClassVar[Set[str]]  # may stand after the ?
    ignored_arguments: ClassVar[Set[str]] = frozenset()  # of drivers: ours set them
    clock: ClassVar[str]  # SQL: the seconds since 1970, when the statement begins
    single_writer: ClassVar[bool] = False  # so that others had better wait in line
    no_statement_timeout: ClassVar[Executable] = text("SELECT 1")  # in this transaction
    position: ClassVar[Mapping[str, Any]] = {}  # of a new event, if the table has no default
    # where others write at the same time: by `keys`; then also those of the `tried` that are free
    lock_lanes: ClassVar[Executable | None] = None
    try_lanes: ClassVar[Executable | None] = None
    wait_shortly: ClassVar[Executable] = text("SELECT 1")  # for locks, in this transaction
    delivery_store: Callable[..., Any] | None = None  # makes one of its own, of the one for all
    allow_idle: ClassVar[Executable] = text("SELECT 1")  # a person may read what it returns

    @abstractmethod
    def __init__(self, url: URL, *, handler_timeout: float) -> None:
        """Take a URL with its driver.

        :raises InvalidValue: if the URL says what this kind of database does not know
        """

    @abstractmethod
    def new_engine(
        self, application: str, process: str, *, given: GivenEngine = NOT_GIVEN, **options: Any
    ) -> AsyncEngine:
        """Return an engine whose connections are set up; nothing is connected yet.

        It connects as the URL says, or as the engine does that was `given`.

        :raises InvalidValue: if its driver is not installed
        :raises ValueError: if an option in the URL has a wrong value
        """

    def lifespan(self, engine: AsyncEngine) -> AbstractAsyncContextManager[None]:
        """Open what is needed as long as the database is used."""
        return nullcontext()

    def start_soon(  # noqa: B027 - where no lane is locked, nothing is left for later
        self, function: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        """Run a function beside all else, until the database is closed."""

    def prepare_upgrade(self, connection: Connection) -> None:  # noqa: B027 - most need not
        """Wait for others that change the schema.

        :raises Unavailable: if the database cannot hold what will be stored in it
        """

    def begin_upgrade(self, connection: Connection) -> None:  # noqa: B027 - most need not
        """Begin the transaction of migrations anew; nothing was done in it yet."""

    def ensure_references(self, connection: Connection) -> None:  # noqa: B027 - others always do
        """Check what migrations have done to rows that others refer to.

        :raises Unavailable: if one refers to nothing; then the upgrade is rolled back
        """

    def capacity(self, connection: Connection) -> str:
        """Say how many connections the database takes, after how many a process has."""
        return ", which share one file"

    async def check_sessions(  # noqa: B027 - most have nothing between them and their processes
        self, engine: AsyncEngine, connections: int | None = None
    ) -> None:
        """Check that a session belongs to its connection, and that there can be `connections`.

        :raises Unavailable: if a pooler was seen to share sessions, or if there cannot be as many
        """

    def unused_defaults(self, connection: Connection) -> str | None:
        """Say what the database does for others by default, and not for handlers."""
        return None

    def notify_workers(self) -> None:  # noqa: B027 - not all can
        """Let the processes that listen know soon that deliveries have been committed."""

    def listen(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[object]:
        """Call `wake` when another process has committed deliveries, if the database can.

        It is a hint: one may be lost, and one comes for nothing when it begins to listen. It takes
        a connection beside those that transactions wait in line for; if that is lost, or cannot be
        made, there is soon another one.
        """
        return nullcontext()

    def call_scope(self, *, no_timeout: bool = False) -> CancelScope:
        """Return the scope for one call of the driver: shielded, perhaps with a deadline."""
        return CancelScope(shield=True)

    async def connect(self, connecting: Callable[[], Awaitable[T]]) -> T:
        """Connect, or take a connection that was idle.

        :raises Unavailable: if that does not work, whatever drivers raise for it
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
        """Call the driver, and wait for its answer, whatever is cancelled meanwhile.

        :raises ConnectionLost: if no answer comes in time, where there is a limit
        :raises Exception: what `translate` makes of an error
        """
        await checkpoint_if_cancelled()
        started, cause = current_time(), None
        with self.call_scope(no_timeout=no_timeout) as call:
            try:
                return await function(*args)
            except Exception as error:
                if not call.cancel_called:
                    if (ours := self.translate(error)) is error:
                        raise
                    raise ours from error
                cause = error
        logger.warning("the database did not answer; hanging up")
        await checkpoint_if_cancelled()
        raise ConnectionLost(f"no answer within {call.deadline - started:.3g} s") from cause

    def violated(self, error: exc.IntegrityError, tables: Iterable[Table]) -> str | None:
        """Return the name of the constraint of one of these tables that is violated, if it has one.

        :raises StatementRefused: if the data can never be stored: missing, or out of range
        """
        return None

    def translate(self, error: Exception) -> Exception:
        """Return the error of ours that one of the driver, or of SQLAlchemy, means.

        A violated constraint is returned as it is: what it means depends on who has violated it.
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
    """Import a driver inside, which one of the `extras` brings.

    :raises InvalidValue: if it is not installed
    """
    try:
        yield
        return
    except NoSuchModuleError:
        missing = "sqlalchemy-anyio"
    except ImportError as error:
        missing = error.name or "libpq"  # psycopg without it gives it no name
    raise wrong_url(f"needs {missing}; {install_hint(extras[driver])}")


def error_text(error: BaseException) -> str:
    """Return the driver's words in one line."""
    cause = getattr(error, "orig", None) or error
    return " ".join(str(cause).split()) or type(cause).__name__
