# room: postgresql
"""A worker in a process of its own, to be measured from another one.

    python -m benchmarks.worker_process URL [told]

Its one handler does nothing; with "told" it prints the time at which it was called, in seconds of
the system's own clock, which is the same in all processes, among other lines.
"""

import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import Process

from allocation.domain.events import Event, UserRegistered
from allocation.entrypoints.running import serve
from allocation.entrypoints.worker import working
from allocation.service_layer.ports import Notifications
from benchmarks.application import handled_by, settings_for
from benchmarks.due import LIMIT_SECONDS, connected, until_not

CALLED = "called at"  # begins a line
FEWER_LISTEN = """
    SELECT count(*) < $1 FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN %'
"""


async def no_op(event: Event, notifications: Notifications) -> None:
    """Do nothing."""


def main(url: str, told: str = "") -> None:
    """Work until told to stop."""
    logging.disable(logging.WARNING)
    settings = settings_for(url, dispatch="worker")
    with handled_by({UserRegistered: [telling() if told else no_op]}):
        serve(settings, working(settings))


def telling() -> Any:
    """Return a handler of the same name that tells when it was called."""

    async def no_op(event: Event, notifications: Notifications) -> None:
        print(CALLED, time.monotonic(), flush=True)

    return no_op


@asynccontextmanager
async def workers(url: str, count: int, *told: str) -> AsyncIterator[list[Process]]:
    """Start so many processes, and wait until all of them listen for work; end them at the end."""
    command = (sys.executable, "-m", "benchmarks.worker_process", url, *told)
    stdout = subprocess.PIPE if told else subprocess.DEVNULL  # nobody would read a pipe
    start = partial(anyio.open_process, command, stdout=stdout, stderr=subprocess.DEVNULL)
    processes = [await start() for _ in range(count)]
    try:
        with anyio.fail_after(LIMIT_SECONDS):
            async with connected(url) as connection:
                await until_not(connection, FEWER_LISTEN, count)
        yield processes
    finally:
        with anyio.CancelScope(shield=True):
            for process in processes:
                process.kill()
                await process.aclose()


if __name__ == "__main__":
    main(*sys.argv[1:])
