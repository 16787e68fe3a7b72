# room: postgresql
"""Measures the worker on PostgreSQL: deliveries a second, of handlers with an effect outside.

The handlers do nothing. One process, as many hands as it says.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio import create_task_group

from allocation.bootstrap import bootstrap
from allocation.domain.events import Event, UserRegistered
from allocation.entrypoints.running import StopSignal
from allocation.entrypoints.worker import Worker
from allocation.service_layer.ports import Notifications
from benchmarks import worker_peers as peers
from benchmarks.application import handled_by, settings_for
from benchmarks.due import LEFT, Tally, Working, due, jobs_per_second
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.results import Topic
from benchmarks.servers import Prepare, new_database, template

UNIT = "deliveries/s"
SLOW_PEER_SHARE = 10  # of the jobs, for what would take too long otherwise
WHY = (
    "Ours takes 150 µs of a processor for a delivery with 20 hands and 120 with 100, where "
    "pgqueuer takes 43 and 30. A batch is four statements in two transactions, by SQLAlchemy "
    "(pgqueuer: two, on asyncpg itself, from prepared text); each delivery has a task, a time "
    "limit of its own, a context for the log, observers, and its entry with attempt, process "
    "and duration. pgqueuer's jobs share a task group, without time limits. To share one "
    "scope among a batch would let a slow handler take the time of the others."
)


def ours(hands: int) -> Working:
    """Have our worker do what is due."""

    @asynccontextmanager
    async def working(url: str, tally: Tally) -> AsyncIterator[None]:
        async def no_op(event: Event, notifications: Notifications) -> None:
            tally.count()

        with handled_by({UserRegistered: [no_op]}):
            async with work(url, hands):
                yield

    return working


@asynccontextmanager
async def work(url: str, hands: int) -> AsyncIterator[None]:
    """Run the worker with the handlers that are in the table now."""
    stop = StopSignal()
    async with (
        bootstrap(settings_for(url, dispatch="worker")) as application,
        create_task_group() as group,
    ):
        group.start_soon(Worker(application, stop, concurrency=hands).run)
        yield
        stop.set()


def once(working: Working, prepare: Prepare, jobs: int, left: str = LEFT) -> float:
    """Measure a worker in a new database."""
    with new_database(template(prepare)) as url:
        return anyio.run(jobs_per_second, working, url, jobs, left)


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield one for each number of hands."""
    jobs = effort.pick(1_500, 4_000)
    for hands in (20, 100):
        yield Contest(
            what=f"{jobs:,} deliveries, {hands} hands",
            unit=UNIT,
            ours=partial(once, ours(hands), due(jobs), jobs),
            ways=tuple(_peers(hands, jobs)),
        )


def _peers(hands: int, jobs: int) -> Iterator[Way]:
    few = jobs // SLOW_PEER_SHARE
    queued, left = peers.pgqueuer_jobs(jobs), peers.PGQUEUER_LEFT
    yield Way(
        name="pgqueuer",  # it takes at most half as many at a time as it may have under way
        once=partial(once, peers.pgqueuer(hands // 2, hands), queued, jobs, left),
        goal=Goal(1.0),
        missing=peers.missing("pgqueuer", "the extra bench"),
    )
    yield Way(
        name="pgqueuer without a limit",
        once=partial(once, peers.pgqueuer(hands), queued, jobs, left),
        missing=peers.missing("pgqueuer", "the extra bench"),
    )
    yield Way(
        name="oban",
        once=partial(once, peers.oban(hands), peers.oban_jobs(jobs), jobs, peers.OBAN_LEFT),
        goal=Goal(2.0),
        missing=peers.missing("oban", "Python 3.12"),
    )
    left = peers.PROCRASTINATE_LEFT
    yield Way(
        name="procrastinate",
        once=partial(once, peers.procrastinate(hands), peers.procrastinate_jobs(few), few, left),
        goal=Goal(10.0),
        missing=peers.missing("procrastinate", "the extra bench"),
    )


TOPIC = Topic(
    name="worker",
    title="The worker, beside others",
    meaning=(
        "A backlog of jobs that do nothing, in one process, with ten connections for each of them,"
        " counted from the first call until the database says that none is left. All keep what was"
        " done, except pgqueuer, which moves it to a log; ours and theirs run on asyncio's own"
        " event loop. pgqueuer is shown twice: with as many jobs under way as there are hands, and"
        " without a limit. procrastinate has a tenth of the jobs, or it would take too long."
    ),
    contests=contests,
    why=WHY,
)
