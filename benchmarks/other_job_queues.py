"""Other workers on PostgreSQL, used as their documentation shows, on asyncio's own event loop.

Each has its own schema in a new database, the same jobs, a pool of ten connections if it accepts
one, and as many slots as ours. For each, one function fills a database and another one works.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg

from benchmarks.due_jobs import Queue, Tally, connected

POOL = 10


async def pgqueuer_jobs(url: str, jobs: int) -> None:
    """Store jobs of pgqueuer."""
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    async with connected(url) as connection:
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.enqueue(["no_op"] * jobs, [None] * jobs, [0] * jobs)


def pgqueuer(url: str, tally: Tally, slots: int) -> AbstractAsyncContextManager[None]:
    """Take half as many jobs at a time as may run concurrently."""
    return _pgqueuer(url, tally, batch_size=slots // 2, max_concurrent_tasks=slots)


def unlimited_pgqueuer(url: str, tally: Tally, slots: int) -> AbstractAsyncContextManager[None]:
    """Take jobs at a time, even while others are running."""
    return _pgqueuer(url, tally, batch_size=slots)


@asynccontextmanager
async def _pgqueuer(url: str, tally: Tally, **options: int) -> AsyncIterator[None]:
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


async def oban_jobs(url: str, jobs: int) -> None:
    """Store jobs of Oban."""
    from oban import Oban
    from oban.schema import install

    async with _oban_pool(url) as pool:
        await install(pool)
        no_op = _oban_worker(Tally(0))
        await Oban(pool=pool).enqueue_many(*(no_op.new({}) for _ in range(jobs)))


@asynccontextmanager
async def oban(url: str, tally: Tally, slots: int) -> AsyncIterator[None]:
    """Run one queue with this many slots."""
    from oban import Oban

    _oban_worker(tally)
    async with _oban_pool(url) as pool, Oban(pool=pool, queues={"default": slots}):
        yield


def _oban_worker(tally: Tally) -> Any:
    """Return the class that does a job; the one created last is used."""
    from oban import worker

    class NoOp:
        __qualname__ = "NoOp"  # by which its jobs find it, whichever class was created last

        async def process(self, job: Any) -> None:
            tally.count()

    return worker(queue="default")(NoOp)


@asynccontextmanager
async def _oban_pool(url: str) -> AsyncIterator[Any]:
    from psycopg_pool import AsyncConnectionPool

    async with AsyncConnectionPool(url, min_size=POOL, max_size=POOL, open=False) as pool:
        yield pool


async def procrastinate_jobs(url: str, jobs: int) -> None:
    """Store jobs of procrastinate."""
    app, no_op = _procrastinate(url, Tally(0))
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await no_op.batch_defer_async(*({} for _ in range(jobs)))


@asynccontextmanager
async def procrastinate(url: str, tally: Tally, slots: int) -> AsyncIterator[None]:
    """Run a worker with this many slots."""
    app, _ = _procrastinate(url, tally)
    async with app.open_async():
        work = app.run_worker_async(concurrency=slots, install_signal_handlers=False)
        running = asyncio.create_task(work)
        yield
        running.cancel()
        await asyncio.wait([running])


def _procrastinate(url: str, tally: Tally) -> tuple[Any, Any]:
    """Return an app and its one task."""
    from procrastinate import App, PsycopgConnector

    connector = PsycopgConnector(conninfo=url, min_size=POOL, max_size=POOL)
    app = App(connector=connector)

    async def no_op() -> None:
        tally.count()

    return app, app.task(name="no_op")(no_op)


PGQUEUER_LEFT = "SELECT EXISTS (SELECT FROM pgqueuer)"
OBAN_LEFT = "SELECT EXISTS (SELECT FROM oban_jobs WHERE state <> 'completed')"
PROCRASTINATE_LEFT = "SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status <> 'succeeded')"
PEERS = {  # the name begins with the package's
    "pgqueuer": Queue(pgqueuer_jobs, pgqueuer, PGQUEUER_LEFT),
    "pgqueuer without a limit": Queue(pgqueuer_jobs, unlimited_pgqueuer, PGQUEUER_LEFT),
    "oban": Queue(oban_jobs, oban, OBAN_LEFT),
    "procrastinate": Queue(procrastinate_jobs, procrastinate, PROCRASTINATE_LEFT, share=10),
}
