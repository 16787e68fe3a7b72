"""The calls of a database's driver, whichever driver it is, and whichever way they go.

SQLAlchemy makes most of them: a dialect's `do_commit` is what calls a driver's `commit`. Some of
PostgreSQL go to a connection of asyncpg directly, which SQLAlchemy does not see.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, partialmethod
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect


@dataclass(frozen=True)
class Call:
    """One call: a statement, or COMMIT."""

    sql: str
    values: Any = ()
    is_series: bool = False
    """Whether the statement is one for each of several rows."""
    asked: Sequence[str] = ()
    """The statements before it in its transaction."""
    committed: Sequence[Sequence[str]] = ()
    """The statements of each transaction that this process has committed."""

    def follows(self, *texts: str) -> bool:
        """Tell whether each of these was asked before, in the same transaction."""
        return all(any(text in sql for sql in self.asked) for text in texts)


def _nothing(call: Call) -> None:
    """Not look at a call."""


class _Watching:
    """What is shown, and what each connection has asked for since its transaction began."""

    def __init__(self, before: Callable[[Call], None], after: Callable[[Call], None]) -> None:
        self._before, self._after = before, after
        self._asked: defaultdict[int, list[str]] = defaultdict(list)  # by the driver's connection
        self._committed: list[Sequence[str]] = []
        self._originals: Any = DefaultDialect.do_commit, DefaultDialect.do_rollback
        self._fetch = asyncpg.Connection.fetch

    def _of(self, connection: Any) -> list[str]:
        return self._asked[id(connection.dbapi_connection)]

    def on_statement(
        self, at: Connection, _: object, sql: str, values: Any, __: object, is_series: bool
    ) -> None:
        self._before(Call(sql, values, is_series, self._of(at.connection), self._committed))

    def on_answer(
        self, at: Connection, _: object, sql: str, values: Any, __: object, is_series: bool
    ) -> None:
        self._after(Call(sql, values, is_series, self._of(at.connection), self._committed))
        self._of(at.connection).append(sql)

    def commit(self, dialect: DefaultDialect, connection: Any) -> None:
        asked = [*self._of(connection)]
        call = Call("COMMIT", asked=asked, committed=self._committed)
        self._before(call)
        self._originals[0](dialect, connection)
        self._after(call)
        self._committed.append(asked)
        self._of(connection).clear()

    def roll_back(self, dialect: DefaultDialect, connection: Any) -> None:
        self._of(connection).clear()
        self._originals[1](dialect, connection)

    async def fetch(self, connection: Any, sql: str, *values: Any, **options: Any) -> Any:
        call = Call(sql, values, committed=self._committed)
        self._before(call)
        rows = await self._fetch(connection, sql, *values, **options)
        self._after(call)
        return rows

    def start(self) -> Iterator[Callable[[], None]]:
        """Put itself around the functions that call drivers; yield what takes it away."""
        for owner, name, function in (
            (DefaultDialect, "do_commit", self.commit),
            (DefaultDialect, "do_rollback", self.roll_back),
            (asyncpg.Connection, "fetch", self.fetch),
        ):
            yield partial(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, partialmethod(_call_with_self, function))


def _call_with_self(owner: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return function(owner, *args, **options)


def watch(
    *engines: Engine,
    before: Callable[[Call], None] = _nothing,
    after: Callable[[Call], None] = _nothing,
) -> Callable[[], None]:
    """Show the calls on these engines, or on any, before and after they are made.

    Those which asyncpg is asked for directly, and COMMITs, are shown whichever engine it is. Return
    what ends it.
    """
    watching, until = _Watching(before, after), ExitStack()
    for engine in engines or (Engine,):
        for name, listener in (
            ("before_cursor_execute", watching.on_statement),
            ("after_cursor_execute", watching.on_answer),
        ):
            event.listen(engine, name, listener)
            until.callback(event.remove, engine, name, listener)
    for end in watching.start():
        until.callback(end)
    return until.close
