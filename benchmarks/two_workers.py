# room: postgresql
"""Measures two worker processes beside one: deliveries a second, by the clock of the database."""

from collections.abc import Iterator
from functools import partial

import anyio

from benchmarks.due import LEFT, LIMIT_SECONDS, connected, make_due, until_not
from benchmarks.measuring import Contest, Effort, Goal, Way
from benchmarks.results import Topic
from benchmarks.servers import new_database, template
from benchmarks.worker import UNIT
from benchmarks.worker_process import workers

TAKEN = "SELECT max(finished_at) - min(finished_at) FROM deliveries"
WAKE = "NOTIFY allocation_deliveries"
WHY = (
    "The server needs a core of its own, and so do two workers: of three processes on two "
    "cores, one waits."
)


def rate(processes: int, jobs: int) -> float:
    """Measure so many processes, in a new database."""
    with new_database(template()) as url:
        return anyio.run(_rate, url, processes, jobs)


async def _rate(url: str, processes: int, jobs: int) -> float:
    async with workers(url, processes), connected(url) as connection:
        await make_due(url, jobs)
        await connection.execute(WAKE)
        with anyio.fail_after(LIMIT_SECONDS):
            await until_not(connection, LEFT)
        return jobs / float(await connection.fetchval(TAKEN))


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    jobs = effort.pick(2_000, 20_000)
    yield Contest(
        what=f"{jobs:,} deliveries, two processes",
        unit=UNIT,
        ours=partial(rate, 2, jobs),
        ways=[Way(name="one process", once=partial(rate, 1, jobs), goal=Goal(1.6))],
    )


TOPIC = Topic(
    name="two_workers",
    title="Two workers beside one",
    meaning=(
        "The same backlog for one process and for two, which share it by SKIP LOCKED, counted from"
        " the first delivery that is done to the last. The server runs on the same machine, so"
        " that it needs a core of its own to show more."
    ),
    contests=contests,
    why=WHY,
)
