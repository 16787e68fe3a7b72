# room: postgresql
"""Measures the worker with handlers that have a unit of work: deliveries a second, 20 hands.

The limit is asyncpg: BEGIN, the one UPDATE that marks a delivery as done, COMMIT, for each, ten
at a time.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import asyncpg
from anyio import create_task_group

from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.unit_of_work import UnitOfWork
from benchmarks.application import handled_by
from benchmarks.due import Tally, Working, connected, due
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.registration_asyncpg import numbered
from benchmarks.registration_sql import statements
from benchmarks.results import Topic
from benchmarks.servers import new_database, template
from benchmarks.worker import UNIT, once, work

HANDS = 20
AT_A_TIME = 10
WHY = (
    "A unit of work is SQLAlchemy's session on a connection that is asked first whether it "
    "lives, and the claim was another transaction before: ours takes 620 µs of a processor."
)


def ours() -> Working:
    """Have our worker do what is due."""

    @asynccontextmanager
    async def working(url: str, tally: Tally) -> AsyncIterator[None]:
        async def no_op(event: Event, uow: UnitOfWork) -> None:
            tally.count()
            await uow.commit()

        with handled_by({UserRegistered: [no_op]}):
            async with work(url, HANDS):
                yield

    return working


def raw(jobs: int) -> float:
    """Measure asyncpg in a new database."""
    with new_database(template(due(jobs))) as url:
        return anyio.run(_raw, url, jobs)


async def _raw(url: str, jobs: int) -> float:
    done, _ = numbered(statements("postgresql")["done"])
    async with connected(url) as connection:
        left = [row[0] for row in await connection.fetch("SELECT event_id FROM deliveries")]
    async with asyncpg.create_pool(url, min_size=AT_A_TIME, max_size=AT_A_TIME) as pool:
        started = time.perf_counter()
        async with create_task_group() as group:
            for _ in range(AT_A_TIME):
                group.start_soon(_mark_all, pool, done, left)
        return jobs / (time.perf_counter() - started)


async def _mark_all(pool: Any, done: str, left: list[UUID]) -> None:
    while left:
        event = left.pop()
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(done, event, "no_op")


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    jobs = effort.pick(1_000, 4_000)
    yield Contest(
        what=f"{jobs:,} deliveries, {HANDS} hands",
        unit=UNIT,
        ours=partial(once, ours(), due(jobs), jobs),
        ways=[
            Way(name="asyncpg", once=partial(raw, jobs), goal=Goal(0.3), is_limit=True),
        ],
    )


TOPIC = Topic(
    name="worker_in_transactions",
    title="The worker, with a transaction for each",
    meaning=(
        "Handlers that change the database mark their delivery as done in their own transaction,"
        " so no batch can save it. The limit is that transaction alone: BEGIN, one UPDATE, COMMIT"
        " by asyncpg, ten at a time; ours has also claimed each delivery before."
    ),
    contests=contests,
    why=WHY,
)
