"""What a kind of database has to provide, so that the rest of the adapter need not know its kind.

SQLite's answers are in `sqlite.py`; those of a server are in a room. The table is in `rooms.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ClassVar, Protocol

from sqlalchemy import URL
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql import Executable

from allocation.adapters.calls import Line
from allocation.domain.exceptions import AllocationError


class DatabaseKind(Protocol):
    """A database of one kind. A statement that is None is not needed there."""

    form: ClassVar[str]  # of its URLs
    drivers: ClassVar[Mapping[str, Sequence[str]]]  # by event loop; the first is the usual one
    extra: ClassVar[str]  # what has to be installed for them
    one_writer: ClassVar[bool]  # at a time, so that others had better wait in line
    clock: ClassVar[str]  # SQL: the seconds since 1970, when the statement begins
    wake_workers: ClassVar[Executable | None]  # with the commit
    lock_schema: ClassVar[Executable | None]  # wait for others that change the schema
    take_time: ClassVar[Executable | None]  # statements of this transaction need more than usual
    take_pauses: ClassVar[Executable | None]  # so does whoever reads what it returns

    def __init__(self, url: URL, *, written: str, handler_timeout: float) -> None:
        """Take a URL with its driver, and as somebody wrote it.

        :raises InvalidValue: if the URL says what this kind of database does not know
        """

    def for_driver(self) -> tuple[URL, dict[str, Any]]:
        """Return what SQLAlchemy is given: a URL, and arguments of the driver beside it."""

    def listen(self, engine: Engine) -> None:
        """Have the connections of this engine set up, and watched."""

    def in_use(self) -> AbstractAsyncContextManager[None]:
        """Open what is needed as long as the database is used."""

    def watching(self, line: Line) -> AbstractContextManager[None]:
        """See to it that no call on this line takes for ever."""

    def listening(
        self, engine: AsyncEngine, wake: Callable[[], None]
    ) -> AbstractAsyncContextManager[None]:
        """Call `wake` when another process has committed deliveries. See `Database.listening`."""

    def meaning(self, error: DBAPIError) -> AllocationError | None:
        """Return the error of ours for one of the driver's, if this kind knows it."""
