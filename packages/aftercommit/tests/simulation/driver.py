"""SQLite's driver in the world: no thread, no waiting, and faults between a call and its answer.

All that `sqlalchemy_anyio` does is as it is, but for its thread: a call reaches the database after
a moment, and its answer comes a moment later. In between, whatever can happen happens: so a COMMIT
can take effect though nobody hears of it.
"""

import sqlite3
from asyncio import events
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from aftercommit import Extension
from aftercommit.sqlite import prepare
from aftercommit_tests.inside.process import worker
from aftercommit_tests.inside.stored import schedule_rows
from anyio._backends import _asyncio
from sqlalchemy import Pool, event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy_anyio import ThreadCall, ThreadedConnection, run_calls_with
from sqlalchemy_anyio.dialects import SQLiteDialectAnyIO

from simulation.faults import BUSY_IS_LONG, Fault, Faults
from simulation.statement_names import name_of
from simulation.world import Loop, Process, World, this_process

BUSY_SECONDS, BUSY_PAUSE = 10.0, 0.1  # SQLite's busy handler, which would wait in real time
POLL_SECONDS = 3.0  # before a worker looks whether others have made something due
WITHIN = "within a transaction"  # what SQLite says to a BEGIN
LOST = "the connection was terminated"  # what `sqlalchemy_anyio` takes for a lost connection
UNINTERESTING = ("create_function", "PRAGMA", "setattr", "close", "open", "cursor")
UNIX_EPOCH = 2440587.5  # as SQLite's `julianday` counts days
DAY = 86400.0


BY_AN_ERROR = "INSERT OR ROLLBACK INTO orders SELECT * FROM orders"  # each of them is there


class SQLiteServer:
    """A file, as far as it can break as a whole; and what the world itself reads in it."""

    shows_each_commit = True
    ends: Sequence[str] = ("COMMIT", BY_AN_ERROR)
    """Statements by which a handler can end its transaction."""

    def __init__(self, world: World, file: Path) -> None:
        self._world, self._file = world, file
        self._reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
        self._version = 0
        self.url = f"sqlite+anyio:///{file}"
        self.has_lane_locks = False
        self.extensions: Sequence[Extension] = ()

    def has_changed(self) -> bool:
        """Tell whether something was committed since the last time."""
        before = self._version
        [self._version] = self._reader.execute("PRAGMA data_version").fetchone()
        return self._version != before

    def query(self, sql: str) -> Sequence[Any]:
        """Return the rows of a query, as of what is committed."""
        return self._reader.execute(sql).fetchall()

    def new_engine(self) -> AsyncEngine:
        """Return an engine as an application has one of its own."""
        engine = create_async_engine(self.url)
        prepare(engine)
        return engine

    def lock(self, seconds: float) -> bool:
        """Hold the write lock for so long, as another program could, or tell that it is taken."""
        other = sqlite3.connect(self._file, isolation_level=None, timeout=0)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            other.close()
            return False
        self._world.after(seconds, other.close)
        return True

    @contextmanager
    def running(self, faults: Faults, looks: Callable[[Process], None]) -> Iterator[None]:
        """Let what is connected meanwhile be connected through the world."""
        start = partial(Runner, faults, looks)
        with run_calls_with(start):
            yield
        self._reader.close()


class Runner:
    """Makes the calls of one connection, one after the other, each in three moments."""

    def __init__(
        self, faults: Faults, look: Callable[[Process], None], connection: ThreadedConnection
    ) -> None:
        self._faults, self._look, self._connection = faults, look, connection
        self._process = this_process()
        self._world: World = self._process.world
        self._calls: deque[ThreadCall] = deque()
        self._is_broken = False
        self._waits_since: float | None = None
        self._process.connections.append(self)

    def put(self, call: ThreadCall | None) -> None:
        """Take a call, which is made when those before it are answered."""
        if call is None or self._process.is_dead:
            return
        self._calls.append(call)
        if len(self._calls) == 1:
            self._world.soon(self._ask, self._process)

    def _ask(self) -> None:
        """Let the first call reach the database, unless something is faster."""
        call = self._calls[0]
        what = what_is_asked(call)
        if what == "close":
            self._effect(call, what, None)
            return
        fault = self._faults.of_call(self._process, what)
        if fault and fault.moment == "before":
            self._faults.strike(fault, self._process, self, what)
            self._world.soon(lambda: self._effect(call, what, None), self._process)
        else:
            self._effect(call, what, fault)

    def _make(self, call: ThreadCall, what: str) -> BaseException | None:
        """Make a call; return its error, or what the database says in the place of making it."""
        if what == "close":
            with suppress(ValueError):  # it may be closed twice
                self._process.connections.remove(self)
            return call.make()
        if self._is_broken:
            return sqlite3.OperationalError(LOST)
        if what == "open" and self._faults.is_down:
            return sqlite3.OperationalError("unable to open database file")
        if refusal := self._faults.refusal(what):
            return sqlite3.OperationalError(refusal)
        return call.make()

    def _has_to_wait(self, error: BaseException | None) -> bool:
        """Tell whether the busy handler asks again."""
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
            self._waits_since = None
            return False
        if self._waits_since is None:
            self._waits_since = self._world.now
        waiting = self._world.now - self._waits_since
        if waiting > BUSY_IS_LONG:
            self._process.waited_at = self._world.now
        return waiting < BUSY_SECONDS

    def _effect(self, call: ThreadCall, what: str, fault: Fault | None) -> None:
        error = self._make(call, what)
        if error and WITHIN in str(error):
            self._world.fail(f"{self._process} begins in a transaction that was left open")
        if self._has_to_wait(error):
            again = partial(self._effect, call, what, fault)
            self._world.soon(again, self._process, at_least=BUSY_PAUSE)
            return
        self._waits_since = None
        if error or not what.startswith(UNINTERESTING):
            told = f"{what} → {error}" if error else what
            self._world.story.tell(self._process, told, detail=True)
        if what == "COMMIT" and not error:
            self._look(self._process)
        if fault:
            self._faults.strike(fault, self._process, self, what)
            if self._is_broken and not error:
                error = sqlite3.OperationalError(LOST)
        self._world.soon(lambda: self._answer(call, error), self._process)

    def _answer(self, call: ThreadCall, error: BaseException | None) -> None:
        call.answer(error)
        self._calls.popleft()
        if self._calls:
            self._world.soon(self._ask, self._process)

    def break_off(self) -> None:
        """Lose the connection: the server rolls back, the process learns of it by its next call."""
        raw = self._connection.driver_connection
        if raw is None or self._is_broken:
            return
        self._is_broken, was_in_transaction = True, raw.in_transaction
        raw.rollback()
        if was_in_transaction:  # what the driver still believes; this one locks nothing
            raw.execute("BEGIN")

    def drop(self) -> None:
        """End with its process: SQLite rolls back what was not committed."""
        if (raw := self._connection.driver_connection) is not None:
            raw.close()


def what_is_asked(call: ThreadCall) -> str:
    """Say in a few words what a call asks of the database."""
    name = call.function.func.__name__.strip("_")
    if name != "execute":
        return {"commit": "COMMIT", "rollback": "ROLLBACK"}.get(name, name)
    return name_of(call.function.args[1])


def _prepare(connection: object, _: object) -> None:
    """Let a new connection wait in the world, and go by its clock."""
    loop = events._get_running_loop()
    if isinstance(loop, Loop) and isinstance(connection, ThreadedConnection):
        raw, world = connection.driver_connection, loop.world
        raw.execute("PRAGMA busy_timeout = 0")
        raw.create_function("julianday", 1, lambda _: world.wall_clock / DAY + UNIX_EPOCH)


class _InOrder(dict[object, None]):
    """A set that is iterated in the order in which its members came."""

    def add(self, each: object) -> None:
        self[each] = None

    def remove(self, each: object) -> None:
        del self[each]

    def discard(self, each: object) -> None:
        self.pop(each, None)


@cache
def install() -> None:
    """Make the order of things repeatable in this interpreter, and processes cheaper.

    AnyIO keeps scopes in sets, in the order of their hashes. Engines share what SQLAlchemy has
    compiled, half of what a simulated process costs. A worker that has nothing to do looks less
    often: that was the other half. It looks more often for schedules, since the clock is moved.
    """
    worker.POLL_SECONDS = schedule_rows.LOOK_SECONDS = POLL_SECONDS
    event.listen(Pool, "connect", _prepare)
    initialize: Any = _asyncio.CancelScope.__init__

    def in_order(self: Any, *args: Any, **options: Any) -> None:
        initialize(self, *args, **options)
        self._child_scopes = _InOrder()

    _asyncio.CancelScope.__init__ = in_order  # type: ignore[method-assign]
    share_what_is_compiled(SQLiteDialectAnyIO)


def share_what_is_compiled(dialect: type[Dialect]) -> None:
    """Let engines of this dialect have one cache: for that, two dialects have to be equal."""
    made: Any = dialect.engine_created
    cache: dict[Any, Any] = {}

    def share(cls: type[Dialect], engine: Engine) -> None:
        made.__func__(cls, engine)
        engine.update_execution_options(compiled_cache=cache)

    dialect.engine_created = classmethod(share)  # type: ignore[assignment]
    dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
