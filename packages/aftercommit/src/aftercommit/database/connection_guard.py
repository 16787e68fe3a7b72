"""What a handler can do with the connection of its transaction, and until when.

A handler uses the connection that completes its delivery. So all its statements pass a guard, which
prevents two mistakes that nothing else would notice:

- A task that a handler has left behind goes on after the handler has failed or returned. Its next
  statement would come after the ROLLBACK, and SQLite would execute it outside any transaction.
- A handler ends its transaction where SQLAlchemy does not see it, for example with
  `session.execute(text("COMMIT"))`. Its work and its delivery would be in two transactions.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aftercommit.errors import WiringError

OPTION = "aftercommit_handler_guard"  # of the connection
MARK = "_aftercommit_is_guarded"  # of the dialect
INSTEAD = "the work of a handler is committed when it has returned"
ENDED = "a handler has ended its transaction, through its connection or by an error"
SAVEPOINTS = "use begin_nested() for statements that may fail"
LEFT_BEHIND = (
    "a handler ended while a statement in its transaction was running; await everything it starts"
)
BLANKS = r"(?:[\s(]|--[^\n]*\n|/\*.*?\*/)*"  # with comments, and the brackets of a UNION
LEAVES_NOTHING = re.compile(  # in the session of the server, or in the connection
    rf"{BLANKS}(SELECT|INSERT|UPDATE|DELETE|MERGE|REPLACE|WITH|VALUES|LOCK|NOTIFY|SET\s+LOCAL"
    r"|SAVEPOINT|RELEASE|ROLLBACK\s+(?:\w+\s+)?TO)\b",
    re.IGNORECASE | re.DOTALL,
)
LEAVES = re.compile(  # although it is a SELECT: a setting, or a lock, of the session
    r"\bset_config\s*\((?![^()]*,\s*true\s*\))|\bpg_(?:try_)?advisory_lock(?:_shared)?\s*\(",
    re.IGNORECASE,
)
_ENDS = (
    r"(COMMIT|END|ABORT|ROLLBACK(?!\s+(?:\w+\s+)?TO\b)|BEGIN|START\s+TRANSACTION"
    r"|PREPARE\s+TRANSACTION)\b"
)
ENDS = re.compile(f"{BLANKS}{_ENDS}", re.IGNORECASE | re.DOTALL)
LATER_ENDS = re.compile(f";{BLANKS}{_ENDS}", re.IGNORECASE | re.DOTALL)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|(\$\w*\$).*?\1", re.DOTALL)

_alone: ContextVar["HandlerGuard | None"] = ContextVar("alone", default=None)


class HandlerGuard:
    """Guards the connection of one attempt, from before its handler runs."""

    def __init__(self, connection: AsyncConnection) -> None:
        sync: Any = connection.sync_connection  # it has begun
        self._transaction = sync.get_transaction()
        self._driver = sync.connection.driver_connection
        self._was_in_transaction = in_transaction(self._driver)
        self._has_ended, self.under_way, self.is_reusable = False, 0, True
        sync.execution_options(**{OPTION: self})

    @contextmanager
    def alone(self, *, at_rest: bool = False) -> Iterator[None]:
        """Refuse all calls but those of the body, from now on: the handler has ended.

        :raises WiringError: if it has to be `at_rest`, and a task left behind is in a statement
        """
        self._has_ended = True
        if at_rest and self.under_way:
            raise WiringError(LEFT_BEHIND, "such as asyncio.create_task(…)")
        token = _alone.set(self)
        try:
            yield
        finally:
            _alone.reset(token)

    @property
    def is_open(self) -> bool:
        """Tell whether the current task may use the connection."""
        return not self._has_ended or _alone.get() is self

    def ensure_open(self) -> None:
        """Refuse a task that was left behind.

        :raises ResourceClosedError: if the handler has ended
        """
        if not self.is_open:
            raise ResourceClosedError("the transaction has ended with its handler")

    def ensure_transaction(self, connection: Connection) -> None:
        """Check, without a statement, that everything is still in one transaction.

        :raises WiringError: if the transaction of the handler has ended
        """
        is_same = connection.get_transaction() is self._transaction
        if not is_same or (self._was_in_transaction and not in_transaction(self._driver)):
            raise WiringError(ENDED, SAVEPOINTS)

    def execute(
        self, execute: Callable[..., None], cursor: Any, statement: str, *args: Any
    ) -> None:
        """Let the dialect execute a statement, and note what it may leave behind.

        :raises ResourceClosedError: if the handler has ended and left this task behind
        :raises WiringError: if the transaction has ended, or if this statement would end it
        """
        *_, context = args
        self.ensure_open()
        self.ensure_transaction(context.root_connection)
        if not self._has_ended:
            _refuse_ending(statement)
        leaves_nothing = LEAVES_NOTHING.match(statement) and not LEAVES.search(statement)
        if not self._has_ended and not leaves_nothing:
            self.is_reusable = False
        elif not self._has_ended and context.execution_options.get("stream_results"):
            self.is_reusable = False  # a task that is left behind may go on to fetch
        self.under_way += 1
        try:
            execute(cursor, statement, *args)
        finally:
            self.under_way -= 1
        self._was_in_transaction = self._was_in_transaction or in_transaction(self._driver)


def _refuse_ending(statement: str) -> None:
    """Refuse a statement that would end the transaction, also behind another one: `SELECT 1; END`.

    :raises WiringError: if it would
    """
    ending = ENDS.match(statement)
    if not ending and ";" in statement:  # psycopg executes several statements at once
        ending = LATER_ENDS.search(QUOTED.sub("''", statement))
    if ending:
        raise WiringError(f"leave it out of handlers: {INSTEAD}", ending[1].upper())


def in_transaction(driver: Any) -> bool:
    """Tell whether a driver's connection is in a transaction, without a statement.

    A connection of any other driver counts as in a transaction.
    """
    if (known := getattr(driver, "in_transaction", None)) is not None:  # sqlite3 and aiosqlite
        return bool(known)
    if asyncpg := getattr(driver, "is_in_transaction", None):
        return bool(asyncpg())
    status = getattr(getattr(driver, "info", None), "transaction_status", True)  # of psycopg
    return bool(status)  # 0 is IDLE


def install_guards(engine: AsyncEngine) -> None:
    """Make calls of an engine's connections pass their guards, where they have one."""
    dialect: Any = engine.dialect  # it may be that of the application's engine, which outlives ours
    if not getattr(dialect, MARK, False):
        for name, execute in _GUARDED.items():
            event.listen(engine.sync_engine, name, execute)
        setattr(dialect, MARK, True)
    event.listen(engine.sync_engine, "commit", _before_commit)
    event.listen(engine.sync_engine, "rollback", _before_rollback)


def _guarded(name: str) -> Callable[..., bool]:
    """Return a replacement for this method of the dialect that executes a statement, if needed."""

    def execute(cursor: Any, statement: str, *args: Any) -> bool:
        *_, context = args
        if guard := context.root_connection.get_execution_options().get(OPTION):
            guard.execute(getattr(context.dialect, name), cursor, statement, *args)
        return guard is not None

    return execute


_GUARDED = {
    name: _guarded(name) for name in ("do_execute", "do_executemany", "do_execute_no_params")
}


def _before_commit(connection: Connection) -> None:
    guard: HandlerGuard | None = connection.get_execution_options().get(OPTION)
    if guard:
        if _alone.get() is not guard:
            raise WiringError(f"leave it out of handlers: {INSTEAD}", "connection.commit()")
        guard.ensure_transaction(connection)


def _before_rollback(connection: Connection) -> None:
    if guard := connection.get_execution_options().get(OPTION):
        guard.ensure_open()
