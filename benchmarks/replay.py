# room: operations
"""Replays a long past to a handler that was added later, and kills whoever works on it, thrice.

    python -m benchmarks.replay DATABASE_URL [EVENTS]

The database has to be empty; it is filled, by SQL. Then the real commands do the rest, each in a
process of its own, and what has happened is counted: each event has to be handled exactly once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import anyio
from sqlalchemy import text

from allocation.adapters.database import open_database
from allocation.adapters.schema import ensure_schema
from allocation.domain.events import UserRegistered
from allocation.entrypoints.cli import cli
from allocation.service_layer.handlers import EVENT_HANDLERS
from tests.e2e.operations.later import count_user, filling

EVENTS = 100_000
KILLS = 3
AS_APPLICATION = "as-application"
REPLAY = ("deliveries", "replay", "count_user")
SETTINGS = {"LEASE_SECONDS": "5", "HANDLER_TIMEOUT_SECONDS": "4", "LOG_LEVEL": "error"}
POLL_SECONDS = 0.2

COUNTS = {
    "owed": "SELECT count(*) FROM deliveries",
    "handled": "SELECT count(*) FROM registration_log",
    "different": "SELECT count(DISTINCT email) FROM registration_log",
    "unfinished": "SELECT count(*) FROM deliveries WHERE finished_at IS NULL",
    "replays": "SELECT count(*) FROM replays",
}


class Past:
    """A database full of events, and the processes that work on it."""

    def __init__(self, url: str, folder: str) -> None:
        self._url = url
        given = {**SETTINGS, "DATABASE_URL": url, "MAIL_URL": f"maildir:{folder}"}
        self._environment = os.environ | {f"ALLOCATION_{name}": v for name, v in given.items()}

    def fill(self, count: int) -> None:
        """Store so many events, which everybody has done with."""
        anyio.run(self._fill, count)

    def number(self, name: str) -> int:
        """Count rows."""
        return anyio.run(self._number, COUNTS[name])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, and do not wait for it."""
        command = [sys.executable, "-m", "benchmarks.replay", AS_APPLICATION, *arguments]
        return subprocess.Popen(
            command, env=self._environment, stdout=subprocess.DEVNULL, text=True
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[None]:
        """Run a command beside this, and kill it at the end of the context."""
        process = self.start(*arguments)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def run(self, *arguments: str) -> None:
        """Run a command to its end."""
        assert self.start(*arguments).wait() == 0, arguments

    async def _fill(self, count: int) -> None:
        async with open_database(self._url) as database:
            await ensure_schema(database)
            is_postgres = "sqlite" not in self._url
            async with database.writing(takes_time=True) as session:
                await session.execute(text(filling(count, is_postgres=is_postgres)))
                await session.commit()

    async def _number(self, statement: str) -> int:
        async with open_database(self._url) as database, database.reading() as session:
            return int((await session.execute(text(statement))).scalar_one())


def main(url: str, events: int) -> None:
    with TemporaryDirectory() as folder:
        past = Past(url, folder)
        told("filled", lambda: past.fill(events))
        began = time.monotonic()
        for kill in range(1, KILLS + 1):
            kill_both(past, owed=kill * events // (KILLS + 2), handled=kill * events // 20)
        told("the rest replayed", lambda: past.run(*REPLAY))
        told("the rest handled", lambda: past.run("worker", "--until-idle"))
        say(f"all of it: {time.monotonic() - began:.1f} s, with {KILLS} kills of each process")
        found = {name: past.number(name) for name in COUNTS}
        say(f"{found}")
        right = {"owed": events, "handled": events, "different": events}
        right |= {"unfinished": 0, "replays": 0}
        say("exactly once" if found == right else f"WRONG: not {right}")


def kill_both(past: Past, *, owed: int, handled: int) -> None:
    """Let both work, and kill the replay when so much is owed, then the worker, in the same way."""
    with past.running("worker"):
        with past.running(*REPLAY):
            wait_for(past, "owed", owed)
        wait_for(past, "handled", handled)
    under_way = "in the middle" if past.number("replays") else "at its end"
    numbers = f"{past.number('owed'):,} owed, {past.number('handled'):,} handled"
    say(f"killed: {numbers}; the replay {under_way}")


def wait_for(past: Past, name: str, number: int) -> None:
    while past.number(name) < number:
        time.sleep(POLL_SECONDS)


def told(what: str, work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == AS_APPLICATION:
        EVENT_HANDLERS[UserRegistered].append(count_user)
        cli(sys.argv[2:])
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else EVENTS)
