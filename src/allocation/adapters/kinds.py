"""The kinds of databases: what each has to say of itself, and which of them a URL names.

SQLite's answers are in `sqlite.py`; those of a server are in a room. The table is in `rooms.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pkgutil import resolve_name
from typing import Any, ClassVar

from anyio.lowlevel import current_token
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import Executable

from allocation.adapters.calls import DriverCalls
from allocation.domain.exceptions import InvalidValue
from allocation.rooms import DATABASES


class DatabaseKind(ABC):
    """One database; what its kind need not do, or cannot, is as it is here."""

    form: ClassVar[str]  # what its URLs look like, to be shown when one is wrong
    asyncio_driver: ClassVar[str]  # the default on asyncio; the dialect `anyio` runs on any loop
    clock: ClassVar[str]  # SQL: the seconds since 1970, when the statement begins
    one_writer: ClassVar[bool] = False  # at a time, so that others had better wait in line
    wake_workers: ClassVar[Executable | None] = None  # with the commit
    lock_schema: ClassVar[Executable | None] = None  # wait for others that change the schema
    take_time: ClassVar[Executable | None] = None  # for the statements of this transaction
    take_pauses: ClassVar[Executable | None] = None  # so does whoever reads what it returns

    @abstractmethod
    def __init__(self, url: URL, *, written: str, handler_timeout: float) -> None:
        """Take a URL with its driver, and as somebody wrote it.

        :raises InvalidValue: if the URL says what this kind of database does not know
        """

    @abstractmethod
    def new_engine(self, process: str, **options: Any) -> AsyncEngine:
        """Return an engine whose connections are set up, and watched; nothing is connected yet.

        A server is told the name of the process, so that it can say who holds a lock.

        :raises InvalidValue: if its driver is not installed
        :raises ValueError: if an option in the URL has a wrong value
        """

    def driver_calls(self, *, takes_time: bool = False) -> DriverCalls:
        """Return what calls the driver for one transaction."""
        return DriverCalls()

    def in_use(self) -> AbstractAsyncContextManager[None]:
        """Open what is needed as long as the database is used."""
        return nullcontext()

    def listening(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Call `wake` when another process has committed deliveries, if the database can.

        It is a hint: one may be lost, and one may come for nothing. It takes a connection beside
        those that transactions wait in line for; if that is lost, there is soon another one.

        :raises Unavailable: if the database cannot be reached at first
        """
        return nullcontext()


def kind_of(url: str, *, handler_timeout: float) -> DatabaseKind:
    """Return what is to be known of the database at `url`.

    :raises InvalidValue: if the URL cannot be understood, or names what needs another event loop
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        forms = " or ".join(resolve_name(kind).form for kind in DATABASES.values())
        raise InvalidValue("database URL", f"is not of the form {forms}") from None
    backend, _, driver = parsed.drivername.partition("+")
    drivers: Sequence[str] = ()
    if backend in DATABASES:
        kind: type[DatabaseKind] = resolve_name(DATABASES[backend])
        drivers = (kind.asyncio_driver, "anyio") if _is_asyncio() else ("anyio",)
    if (driver or "anyio") not in drivers:
        where = f" on {'asyncio' if _is_asyncio() else 'trio'}" if drivers else ""
        problem = f"names {parsed.drivername}, which is not supported{where}"
        raise InvalidValue("database URL", problem)
    with_driver = parsed.set(drivername=f"{backend}+{driver or drivers[0]}")
    found = kind(with_driver, written=url, handler_timeout=handler_timeout)
    if not (parsed.database and url.isprintable()):
        raise InvalidValue("database URL", "names no database, or what cannot be printed")
    return found


def _is_asyncio() -> bool:
    return hasattr(current_token().native_token, "call_soon_threadsafe")
