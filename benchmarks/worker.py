"""Measures a worker on PostgreSQL: deliveries a second, of handlers that do nothing.

Handlers with an external effect are compared with other job queues. Handlers with a unit of work
are compared with asyncpg alone: for each delivery BEGIN, one UPDATE that marks it as done, and
COMMIT, ten at a time.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any
from uuid import UUID

import anyio
import asyncpg
from aftercommit.handler_entries import Handler
from aftercommit.process.running_services import Shutdown
from aftercommit.process.worker import Worker
from anyio import create_task_group

from allocation.config import Settings
from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.ports import EmailSender
from allocation.service_layer.unit_of_work import UnitOfWork
from benchmarks.due_jobs import Queue, Tally, connected, filled, jobs_per_second, make_due
from benchmarks.measured_application import handled_by, opened, settings_for
from benchmarks.measuring import Contest, Effort, Way
from benchmarks.other_job_queues import PEERS
from benchmarks.registration_by_hand import numbered
from benchmarks.registration_by_hand_statements import statements

UNIT = "deliveries/s"
RAW_AT_A_TIME = 10


def outside(tally: Tally) -> Handler[Any, Any]:
    """Return a handler with an external effect, which does nothing."""

    async def no_op(event: Event, notifications: EmailSender) -> None:
        tally.count()

    return no_op


def transactional(tally: Tally) -> Handler[Any, Any]:
    """Return a handler with a unit of work, which does nothing."""

    async def no_op(event: Event, uow: UnitOfWork) -> None:
        tally.count()

    return no_op


def ours(handler: Callable[[Tally], Handler[Any, Any]]) -> Queue:
    """Let our worker run the due deliveries, with this handler."""

    @asynccontextmanager
    async def working(url: str, tally: Tally, slots: int) -> AsyncIterator[None]:
        with handled_by({UserRegistered: [handler(tally)]}):
            async with work(settings_for(url, dispatch="worker", worker_concurrency=slots)):
                yield

    return Queue(make_due, working)


@asynccontextmanager
async def work(settings: Settings) -> AsyncIterator[None]:
    """Run the worker with the handlers that are in the table now."""
    stop = Shutdown()
    async with opened(settings) as application, create_task_group() as group:
        group.start_soon(Worker(application, stop, concurrency=settings.worker_concurrency).run)
        yield
        stop.set()


def beside_others(effort: Effort) -> Iterator[Contest]:
    """Yield a contest for each number of slots."""
    jobs = effort.pick(1_500, 4_000)
    for slots in (20, 100):
        yield Contest(
            what=f"{jobs:,} deliveries, {slots} slots",
            unit=UNIT,
            ours=partial(jobs_per_second, ours(outside), slots, jobs),
            ways=[
                Way(name=name, once=partial(jobs_per_second, peer, slots, jobs))
                for name, peer in PEERS.items()
                if find_spec(name.partition(" ")[0])  # Oban needs Python 3.12
            ],
        )


def in_transactions(effort: Effort) -> Iterator[Contest]:
    """Yield a contest with handlers that have a unit of work."""
    jobs, slots = effort.pick(1_000, 4_000), 20
    yield Contest(
        what=f"{jobs:,} deliveries, {slots} slots",
        unit=UNIT,
        ours=partial(jobs_per_second, ours(transactional), slots, jobs),
        ways=[Way(name="asyncpg", once=partial(raw, jobs), is_limit=True)],
    )


def raw(jobs: int) -> float:
    """Measure asyncpg in a new database."""
    with filled(make_due, jobs) as url:
        return anyio.run(_raw, url, jobs)


async def _raw(url: str, jobs: int) -> float:
    done, _ = numbered(statements("postgresql")["done"])
    async with connected(url) as connection:
        rows = await connection.fetch("SELECT event_id FROM aftercommit_deliveries")
        left = [row[0] for row in rows]
    async with asyncpg.create_pool(url, min_size=RAW_AT_A_TIME, max_size=RAW_AT_A_TIME) as pool:
        started = time.perf_counter()
        async with create_task_group() as group:
            for _ in range(RAW_AT_A_TIME):
                group.start_soon(_mark_all, pool, done, left)
        return jobs / (time.perf_counter() - started)


async def _mark_all(pool: Any, done: str, left: list[UUID]) -> None:
    while left:
        event = left.pop()
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(done, event, "no_op")
