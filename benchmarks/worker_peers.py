# extension: postgresql
"""Other workers on PostgreSQL, as their documentation has them, on asyncio's own event loop.

Each has a schema of its own in a new database, the same jobs, a pool of ten connections where it
takes one, and as many slots as ours.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import asyncpg

from benchmarks.due import Tally, Working, connected
from benchmarks.servers import Prepare

POOL = 10


@dataclass(frozen=True, slots=True)
class Peer:
    """What fills a database with so many jobs, what does them, and what asks if some are left."""

    package: str
    prepare: Callable[[int], Prepare]
    working: Working
    left: str

    @property
    def is_installed(self) -> bool:
        """Whether it can be measured here: Oban needs Python 3.12."""
        return find_spec(self.package) is not None


@cache
def pgqueuer_jobs(jobs: int) -> Prepare:
    """Return what fills a database with jobs of pgqueuer."""

    async def prepare(url: str) -> None:
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import Queries

        async with connected(url) as connection:
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            await queries.enqueue(["no_op"] * jobs, [None] * jobs, [0] * jobs)
            await connection.execute("ANALYZE")

    return prepare


def pgqueuer(batch_size: int, max_concurrent_tasks: int | None = None) -> Peer:
    """Take so many jobs at a time; without a limit, also while others are under way."""
    options = {"batch_size": batch_size, "max_concurrent_tasks": max_concurrent_tasks}

    @asynccontextmanager
    async def working(url: str, tally: Tally) -> AsyncIterator[None]:
        from pgqueuer import PgQueuer

        async with asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as pool:
            worker = PgQueuer.from_asyncpg_pool(pool)

            async def no_op(job: Any) -> None:
                tally.count()

            worker.entrypoint("no_op")(no_op)
            running = asyncio.create_task(worker.run(**options))
            yield
            worker.shutdown.set()
            await running

    left = "SELECT EXISTS (SELECT FROM pgqueuer)"
    return Peer("pgqueuer", pgqueuer_jobs, working, left)


@cache
def oban_jobs(jobs: int) -> Prepare:
    """Return what fills a database with jobs of Oban."""

    async def prepare(url: str) -> None:
        from oban import Oban
        from oban.schema import install

        async with oban_pool(url) as pool:
            await install(pool)
            oban = Oban(pool=pool)
            no_op = oban_worker(Tally(0))
            await oban.enqueue_many(*(no_op.new({}) for _ in range(jobs)))
        async with connected(url) as connection:
            await connection.execute("ANALYZE")

    return prepare


def oban(slots: int) -> Peer:
    """Run one queue with so many slots."""

    @asynccontextmanager
    async def working(url: str, tally: Tally) -> AsyncIterator[None]:
        from oban import Oban

        oban_worker(tally)
        async with oban_pool(url) as pool, Oban(pool=pool, queues={"default": slots}):
            yield

    left = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')"
    return Peer("oban", oban_jobs, working, left)


def oban_worker(tally: Tally) -> Any:
    """Return the class that does a job; the last one that was made is used."""
    from oban import worker

    class NoOp:
        __qualname__ = "NoOp"  # by which its jobs find it, whichever was made last

        async def process(self, job: Any) -> None:
            tally.count()

    return worker(queue="default")(NoOp)


@asynccontextmanager
async def oban_pool(url: str) -> AsyncIterator[Any]:
    """Open the pool that Oban takes."""
    from psycopg_pool import AsyncConnectionPool

    async with AsyncConnectionPool(url, min_size=POOL, max_size=POOL, open=False) as pool:
        yield pool


@cache
def procrastinate_jobs(jobs: int) -> Prepare:
    """Return what fills a database with jobs of procrastinate."""

    async def prepare(url: str) -> None:
        app, no_op = procrastinate_app(url, Tally(0))
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            await no_op.batch_defer_async(*({} for _ in range(jobs)))
        async with connected(url) as connection:
            await connection.execute("ANALYZE")

    return prepare


def procrastinate(slots: int) -> Peer:
    """Run a worker with so many slots."""

    @asynccontextmanager
    async def working(url: str, tally: Tally) -> AsyncIterator[None]:
        app, _ = procrastinate_app(url, tally)
        async with app.open_async():
            options: dict[str, Any] = {"concurrency": slots, "install_signal_handlers": False}
            running = asyncio.create_task(app.run_worker_async(**options))
            yield
            running.cancel()
            await asyncio.wait([running])

    left = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status <> 'succeeded')"
    return Peer("procrastinate", procrastinate_jobs, working, left)


def procrastinate_app(url: str, tally: Tally) -> tuple[Any, Any]:
    """Return an app and its one task."""
    from procrastinate import App, PsycopgConnector

    connector = PsycopgConnector(conninfo=url, min_size=POOL, max_size=POOL)
    app = App(connector=connector)

    async def no_op() -> None:
        tally.count()

    return app, app.task(name="no_op")(no_op)
