# extension: postgresql
"""Work that is due, for workers to do: each event has one delivery, to a handler that does nothing.

The clock of all workers is the same: from the first call of a handler until the database says that
nothing is left. So neither their start nor their end counts.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any

import anyio
import asyncpg

from benchmarks.servers import Prepare, with_schema

NO_OP = "no_op"
EVENT = '{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11","name":"Иван","email":"i@example.com"}'
MAKE_DUE = """
    WITH made AS (
        INSERT INTO events (id, source, type, schema_version, subject, time, correlation_id,
            causation_id, data, recorded_at)
        SELECT gen_random_uuid(), '/allocation', 'user_registered', 2, 'a user', now(),
            gen_random_uuid(), gen_random_uuid(), $2, 0
        FROM generate_series(1, $1)
        RETURNING id
    )
    INSERT INTO deliveries (event_id, handler, attempts, token, available_at)
    SELECT id, $3, 0, 1, 0 FROM made
"""
LEFT = "SELECT EXISTS (SELECT FROM deliveries WHERE completed_at IS NULL)"
TAKEN = "SELECT max(completed_at) - min(completed_at) FROM deliveries"
LIMIT_SECONDS = 60
LOOK_SECONDS = 0.005


class Tally:
    """Counts the calls of a handler, until so many have been made."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.began = 0.0
        self.over = anyio.Event()

    def count(self) -> None:
        """Take note of a call."""
        self.began = self.began or time.perf_counter()
        self._left -= 1
        if not self._left:
            self.over.set()


Working = Callable[[str, Tally], AbstractAsyncContextManager[None]]
"""Has a worker at work on a database as long as the context is open."""


@cache
def due(jobs: int, handler: str = NO_OP) -> Prepare:
    """Return what fills a database with work for a handler."""

    async def prepare(url: str) -> None:
        await with_schema(url)
        await make_due(url, jobs, handler)

    return prepare


async def make_due(url: str, jobs: int, handler: str = NO_OP) -> None:
    """Put so many deliveries into a database."""
    async with connected(url) as connection:
        await connection.execute(MAKE_DUE, jobs, EVENT, handler)
        await connection.execute("ANALYZE")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Connect, to look on."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_not(connection: Any, question: str, *values: object) -> None:
    """Ask the database again and again, until it says no."""
    while await connection.fetchval(question, *values):  # noqa: ASYNC110 - it sets no event of ours
        await anyio.sleep(LOOK_SECONDS)


async def rate_by_the_database(url: str, jobs: int) -> float:
    """Wait until all is done; return how much in a second, from the first that was to the last."""
    with anyio.fail_after(LIMIT_SECONDS):
        async with connected(url) as connection:
            await until_not(connection, LEFT)
            return jobs / float(await connection.fetchval(TAKEN))


async def jobs_per_second(working: Working, url: str, jobs: int, left: str = LEFT) -> float:
    """Have a worker do all of its jobs; `left` asks whether some are not done."""
    tally = Tally(jobs)
    with anyio.fail_after(LIMIT_SECONDS):
        async with connected(url) as connection, working(url, tally):
            await tally.over.wait()
            await until_not(connection, left)
            return jobs / (time.perf_counter() - tally.began)
