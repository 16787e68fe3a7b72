"""Measures how long a handler in another process waits after a commit, in milliseconds: the median.

    python -m benchmarks.latency URL

is that other process: a worker whose one handler prints the time at which it was called, in seconds
of the system's own clock, which is the same in all processes, among other lines. The limit is a
bare NOTIFY of PostgreSQL to a connection of asyncpg that listens.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from statistics import median

import anyio
from aftercommit import CommandLine
from aftercommit.cli.commands import worker_service
from anyio import to_thread

from allocation.domain.events import Event, UserRegistered
from allocation.service_layer.ports import EmailSender
from benchmarks.databases import new_database
from benchmarks.due_jobs import LIMIT_SECONDS, connected, until_not
from benchmarks.measured_application import (
    WITHOUT_MAIL,
    handled_by,
    opened,
    process,
    registration,
    settings_for,
)
from benchmarks.measuring import Contest, Effort, Way

PAUSE_SECONDS = 0.1  # the worker sleeps when the next event comes, and the process may notify again
CALLED = "called at"  # begins a line
NOBODY_LISTENS = """
    SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN %'
"""


async def print_time(event: Event, notifications: EmailSender) -> None:
    """Print when it was called."""
    print(CALLED, time.monotonic(), flush=True)


def work(url: str) -> None:
    """Work until asked to stop."""
    logging.disable(logging.WARNING)
    settings = settings_for(url, dispatch="worker")
    with handled_by({UserRegistered: [print_time]}):
        CommandLine(WITHOUT_MAIL, {}).run_services(settings, worker_service(settings))


def ours(times: int) -> float:
    """Measure a registration that is left to a worker in another process."""
    handlers = handled_by({UserRegistered: [print_time]})
    with new_database() as url, handlers, process("latency", url, stdout=subprocess.PIPE) as worker:
        return anyio.run(_ours, url, worker, times)


async def _ours(url: str, worker: subprocess.Popen[str], times: int) -> float:
    waited = []
    with anyio.fail_after(LIMIT_SECONDS):
        async with connected(url) as connection:
            await until_not(connection, NOBODY_LISTENS)
        async with opened(settings_for(url, dispatch="worker")) as application:
            for _ in range(times):
                await application.bus.execute(registration())
                committed = time.monotonic()
                called = await to_thread.run_sync(_called, worker, abandon_on_cancel=True)
                waited.append(called - committed)
                await anyio.sleep(PAUSE_SECONDS)
    return median(waited) * 1000


def _called(worker: subprocess.Popen[str]) -> float:
    [line] = islice((line for line in worker.stdout or () if line.startswith(CALLED)), 1)
    return float(line.removeprefix(CALLED))


def bare(times: int) -> float:
    """Measure NOTIFY."""
    with new_database(None) as url:
        return anyio.run(_bare, url, times)


async def _bare(url: str, times: int) -> float:
    waited = []
    async with connected(url) as one, connected(url) as other:
        send, receive = anyio.create_memory_object_stream[float](1)
        await other.add_listener("news", lambda *_: send.send_nowait(time.monotonic()))
        for _ in range(times):
            sent = time.monotonic()
            await one.execute("NOTIFY news")
            waited.append(await receive.receive() - sent)
            await anyio.sleep(PAUSE_SECONDS)
        send.close()
        receive.close()
    return median(waited) * 1000


def contests(effort: Effort) -> Iterator[Contest]:
    """Yield the only one."""
    times = effort.pick(40, 200)
    yield Contest(
        what="commit to handler, another process",
        unit="ms",
        ours=partial(ours, times),
        ways=[Way(name="NOTIFY", once=partial(bare, times), is_limit=True)],
    )


if __name__ == "__main__":
    work(*sys.argv[1:])
