"""Due work for workers: each event has one delivery, to a handler that does nothing.

All workers are timed in the same way: from the first call of a handler until nothing is left in the
database. So neither their start nor their end counts.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import asyncpg
from aftercommit import Database

from benchmarks.databases import Prepare, new_database, store, with_schema
from benchmarks.measured_application import opened, settings_for

NO_OP = "no_op"
EVENT = '{"user_id":"7d3c1a52-6c0e-4a55-8a1b-0c9a3f8d2e11","name":"Иван","email":"i@example.com"}'
EVENTS = """
INSERT INTO aftercommit_events (id, source, type, schema_version, subject, time, correlation_id,
    causation_id, data, recorded_at, position)
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
SELECT {new_id}, '/allocation', 'user_registered', 2, 'a user', {time}, {new_id}, {new_id},
    '{data}', 0, i FROM n
"""
DELIVERIES = """
INSERT INTO aftercommit_deliveries (event_id, handler, attempts, token, available_at, parked_at,
    lane, position, blocked, schema_version)
SELECT id, '{handler}', 0, 1, CASE WHEN {later} THEN 1e11 ELSE 0 END + position,
    CASE WHEN {parked} THEN 0 END, {lane}, position, {blocked}, 1 FROM aftercommit_events
"""
UNORDERED = {"later": "1 = 0", "parked": "1 = 0", "lane": "NULL", "blocked": "(1 = 0)"}
LEFT = "SELECT EXISTS (SELECT FROM aftercommit_deliveries WHERE completed_at IS NULL)"
TAKEN = "SELECT max(completed_at) - min(completed_at) FROM aftercommit_deliveries"
LIMIT_SECONDS = 60
LOOK_SECONDS = 0.005


class Tally:
    """Counts the calls of a handler until enough have been made."""

    def __init__(self, jobs: int) -> None:
        self._left = jobs
        self.began = 0.0
        self.over = anyio.Event()

    def count(self) -> None:
        """Count a call."""
        self.began = self.began or time.perf_counter()
        self._left -= 1
        if not self._left:
            self.over.set()


Working = Callable[[str, Tally, int], AbstractAsyncContextManager[None]]
"""Runs a worker with this many slots on a database while the context is open."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What fills a database with jobs, what does them, and a query whether some are left."""

    prepare: Prepare
    working: Working
    left: str = LEFT
    share: int = 1  # its share of the jobs, where all would take too long


def filled(prepare: Prepare, *values: object) -> AbstractContextManager[str]:
    """Make a database with work for a while; its statistics are up to date."""
    return new_database(_analyzed, prepare, *values)


async def _analyzed(url: str, prepare: Prepare, *values: object) -> None:
    await prepare(url, *values)
    async with connected(url) as connection:
        await connection.execute("ANALYZE")


async def make_due(url: str, jobs: int, handler: str = NO_OP) -> None:
    """Store due deliveries to one handler."""
    await with_schema(url)
    async with opened(settings_for(url)) as application:
        await store_due(application.database, jobs, handler)


async def store_due(
    database: Database, jobs: int, handler: str = NO_OP, layout: Mapping[str, str] = UNORDERED
) -> None:
    """Store events, each with a delivery."""
    values = {"rows": jobs, "data": EVENT, "handler": handler, **layout}
    await store(database, (EVENTS, DELIVERIES), **values)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """Connect, to observe."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def until_not(connection: Any, question: str, *values: object) -> None:
    """Query the database repeatedly, until the answer is no."""
    while await connection.fetchval(question, *values):  # noqa: ASYNC110 - it sets no event of ours
        await anyio.sleep(LOOK_SECONDS)


async def rate_by_the_database(url: str, jobs: int) -> float:
    """Wait until all jobs are done; return jobs per second, from the first to the last."""
    with anyio.fail_after(LIMIT_SECONDS):
        async with connected(url) as connection:
            await until_not(connection, LEFT)
            return jobs / float(await connection.fetchval(TAKEN))


def jobs_per_second(queue: Queue, slots: int, jobs: int) -> float:
    """Let a worker do its share of the jobs, in a new database."""
    jobs //= queue.share
    with filled(queue.prepare, jobs) as url:
        return anyio.run(_jobs_per_second, queue, url, slots, jobs)


async def _jobs_per_second(queue: Queue, url: str, slots: int, jobs: int) -> float:
    tally = Tally(jobs)
    with anyio.fail_after(LIMIT_SECONDS):
        async with connected(url) as connection, queue.working(url, tally, slots):
            await tally.over.wait()
            await until_not(connection, queue.left)
            return jobs / (time.perf_counter() - tally.began)
