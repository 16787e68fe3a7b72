"""The cursors of a connection in a thread. Used by the connection."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Connection(Protocol):
    """What a cursor needs of its connection."""

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection."""

    def run_in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what `function` returns in the thread."""

    def defer_begin(self, statement: str) -> bool:
        """Keep a bare BEGIN for the next statement, and return whether it was one."""

    def begin(self, cursor: Any) -> None:
        """Send a deferred BEGIN, in the thread."""


class ThreadedCursor:
    """A cursor that fetches all rows together with the execution of a statement."""

    arraysize = 1
    description: Any = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: deque[Any] = deque()

    def execute(self, statement: str, *args: Any) -> None:
        """Execute a statement, and fetch its rows."""
        if not self._connection.defer_begin(statement):
            self._connection.run_in_thread(self._execute, "execute", statement, *args)

    def executemany(self, *args: Any) -> None:
        """Execute a statement with each set of parameters."""
        self._connection.run_in_thread(self._execute, "executemany", *args)

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next `size` rows, or the remaining ones."""
        count = min(size or self.arraysize, len(self._rows))
        return [self._rows.popleft() for _ in range(count)]

    def fetchall(self) -> Sequence[Any]:
        """Return the remaining rows."""
        rows, self._rows = self._rows, deque()
        return rows

    def close(self) -> None:
        """Forget the rows; the driver's cursor is already closed."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        """Do nothing: SQLAlchemy calls this where a `close` would have to wait."""

    def _execute(self, method: str, *args: Any) -> None:
        cursor = self._connection.driver_connection.cursor()
        try:
            self._connection.begin(cursor)
            getattr(cursor, method)(*args)
            self._rows = deque(cursor.fetchall() if cursor.description else ())
            self._copy_outcome(cursor)
        finally:
            cursor.close()

    def _copy_outcome(self, cursor: Any) -> None:
        self.description, self.rowcount = cursor.description, cursor.rowcount
        self.lastrowid = getattr(cursor, "lastrowid", None)


class StreamingCursor(ThreadedCursor):
    """A cursor that fetches rows on demand, with one call each time."""

    def __init__(self, connection: Connection, args: Sequence[Any]) -> None:
        super().__init__(connection)
        self._cursor = connection.driver_connection.cursor(*args)

    def fetchone(self) -> Any:
        return self._connection.run_in_thread(self._cursor.fetchone)

    def fetchmany(self, size: int | None = None) -> Any:
        return self._connection.run_in_thread(self._cursor.fetchmany, size or self.arraysize)

    def fetchall(self) -> Any:
        return self._connection.run_in_thread(self._cursor.fetchall)

    def close(self) -> None:
        self._connection.run_in_thread(self._cursor.close)

    def _execute(self, method: str, *args: Any) -> None:
        self._connection.begin(self._cursor)
        getattr(self._cursor, method)(*args)
        self._copy_outcome(self._cursor)
