"""Limits of many workers that are killed and frozen, as the partner sees them, who counts.

    python -m aftercommit_tests.processes.limits_under_faults postgresql
    python -m aftercommit_tests.processes.limits_under_faults sqlite

This takes two minutes: eight workers, 5,000 deliveries, 3,000 a minute and five at once. A test
runs it with less, `--small`. All is on this machine, and ends by itself.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic

import anyio
import click
import sqlalchemy as sa
from aftercommit import Limited, Outbox, on, testing
from anyio import create_task_group, create_tcp_listener
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

MODULE = "aftercommit_tests.processes.limits_under_faults"
LEASE, TIMEOUT = 12.0, 4.0
FROZEN = LEASE + 4.0  # seconds
AWAKE = 10.0  # seconds until a process that was frozen knows that its leases are over
CALL = 0.04  # seconds that the partner takes
CLAIMS = {
    "postgresql": "SELECT extract(epoch FROM statement_timestamp())::float8, claims"
    " FROM aftercommit_limits",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0, claims FROM aftercommit_limits",
}
LEFT = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"
DONE = "SELECT count(*) FROM aftercommit_deliveries WHERE discarded_at IS NULL"


@dataclass(frozen=True)
class Due:
    """Something of which the partner has to be told."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is tried."""

    deliveries: int = 5000
    at_once: int = 5
    per_minute: int = 3000
    workers: int = 8
    kills: int = 4
    freezes: int = 4

    @property
    def dictated(self) -> float:
        """The seconds that the rate dictates, after a first burst."""
        burst = max(1, self.per_minute // 12)
        return (self.deliveries - burst) * 60 / (self.per_minute + 1 - burst)


SMALL = Run(deliveries=120, at_once=2, per_minute=600, workers=3, kills=1, freezes=1)


@dataclass(slots=True)
class Seen:
    """What the partner has seen, and the database says; pids of those that were frozen."""

    running: dict[object, int] = field(default_factory=dict)  # calls, and who makes them
    frozen: set[int] = field(default_factory=set)
    most: int = 0
    most_with_frozen: int = 0
    calls: int = 0
    claims: list[tuple[float, int]] = field(default_factory=list)
    seconds: float = 0.0
    done: int = 0

    def begins(self, call: object, pid: int) -> None:
        """Note a call; one of a process that is, or was just frozen, may come too late."""
        self.calls += 1
        self.running[call] = pid
        others = [each for each in self.running.values() if each not in self.frozen]
        self.most = max(self.most, len(others))
        self.most_with_frozen = max(self.most_with_frozen, len(self.running))

    @property
    def most_in_a_minute(self) -> int:
        """The most claims in less than sixty seconds, by the clock of the database."""
        most = first = 0
        for time, claims in self.claims:
            while time - self.claims[first][0] >= 60:
                first += 1
            most = max(most, claims - self.claims[first][1])
        return most


def an_outbox(url: str, port: int, run: Run) -> Outbox:
    """Return the outbox of a worker, whose handler calls the partner."""

    async def tell_partner(event: Due) -> None:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(f"{os.getpid()}\n".encode())
            await stream.receive()

    limited = Limited(tell_partner, at_once=run.at_once, per_minute=run.per_minute)
    return Outbox(
        "partner",
        url,
        [on(Due, limited)],
        lease_seconds=LEASE,
        handler_timeout_seconds=TIMEOUT,
        worker_concurrency=10,
    )


async def work(url: str, port: int, run: Run) -> None:
    """Be a worker, until it is killed."""
    async with an_outbox(url, port, run).running():
        await anyio.sleep_forever()


async def record(url: str, run: Run) -> None:
    """Store what has to be delivered."""
    outbox, engine = an_outbox(url, 0, run), create_async_engine(url)
    async with outbox.app.open(outbox.app.load({})):
        pass  # it makes the tables
    for start in range(0, run.deliveries, 500):
        async with AsyncSession(engine) as session, session.begin():
            for number in range(start, min(start + 500, run.deliveries)):
                await outbox.record(session, Due(number), about=number)
    await engine.dispose()


class Trial:
    """Workers, the partner that they call, and what hurts them."""

    def __init__(self, url: str, run: Run, ending: ExitStack) -> None:
        self.seen, self._random = Seen(), Random(7)
        self._url, self._run, self._ending = url, run, ending
        self._workers: list[subprocess.Popen[bytes]] = []

    async def work(self, group: TaskGroup) -> None:
        """Let workers work until all is done."""
        listener = await create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        group.start_soon(listener.serve, self._partner)
        self._workers += [self._start(port) for _ in range(self._run.workers)]
        group.start_soon(self._hurt, group, port)
        begun = monotonic()
        await self._watch()
        self.seen.seconds = monotonic() - begun

    def _start(self, port: int) -> "subprocess.Popen[bytes]":
        said = [self._url, str(port), str(self._run.at_once), str(self._run.per_minute)]
        process = subprocess.Popen([sys.executable, "-m", MODULE, "work", *said])
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)
        return process

    async def _partner(self, stream: SocketStream) -> None:
        """Answer a call, which is over when its process hangs up: it may be frozen, or dead."""
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                self.seen.begins(stream, int(await stream.receive()))
                await anyio.sleep(CALL)
                await stream.send(b"ok\n")
                await stream.receive()
            self.seen.running.pop(stream, None)  # or it was killed before it said who it is

    async def _hurt(self, group: TaskGroup, port: int) -> None:
        """Kill and freeze workers in turn, at equal distances."""
        faults = ["kill", "freeze"] * max(self._run.kills, self._run.freezes)
        number = self._run.kills + self._run.freezes
        for fault in faults[:number]:
            await anyio.sleep(0.8 * self._run.dictated / number)
            index = self._random.randrange(len(self._workers))
            worker = self._workers[index]
            if fault == "kill":
                worker.kill()
                worker.wait()
                self._workers[index] = self._start(port)
            else:
                group.start_soon(self._freeze, worker.pid)

    async def _freeze(self, pid: int) -> None:
        self.seen.frozen.add(pid)
        os.kill(pid, signal.SIGSTOP)
        await anyio.sleep(FROZEN)
        with suppress(ProcessLookupError):  # it was killed meanwhile
            os.kill(pid, signal.SIGCONT)
        await anyio.sleep(AWAKE)
        while pid in self.seen.running.values():  # noqa: ASYNC110 - a call ends when it hangs up
            await anyio.sleep(0.05)
        self.seen.frozen.discard(pid)

    async def _watch(self) -> None:
        """Look at the number of claims again and again, until nothing is left to do."""
        engine = create_async_engine(self._url)
        claims, number, left = sa.text(CLAIMS[engine.dialect.name]), cycle(range(10)), 1
        while left:
            await anyio.sleep(0.05)
            async with engine.connect() as connection:
                self.seen.claims += [(row[0], row[1]) for row in await connection.execute(claims)]
                if next(number) == 0:
                    left = (await connection.execute(sa.text(LEFT))).scalar_one()
        async with engine.connect() as connection:
            self.seen.done = (await connection.execute(sa.text(DONE))).scalar_one()
        await engine.dispose()


async def try_it(url: str, run: Run) -> Seen:
    """Let workers work, kill and freeze some, and return what was seen."""
    await record(url, run)
    with ExitStack() as ending:
        async with create_task_group() as group:
            trial = Trial(url, run, ending)
            await trial.work(group)
            group.cancel_scope.cancel()
    return trial.seen


@contextmanager
def a_database(kind: str) -> Iterator[str]:
    """Make an empty database."""
    with TemporaryDirectory(prefix="limits-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        if kind == "sqlite":
            yield f"sqlite+aiosqlite:///{folder}/partner.db"
        else:
            with testing.postgresql_url(testing.postgresql_server(Path(folder) / "data")) as url:
                yield url.replace("postgresql://", "postgresql+asyncpg://")


def main() -> int:
    """Try it, and tell what was seen."""
    if sys.argv[1] == "work":
        _, _, url, port, at_once, per_minute = sys.argv
        anyio.run(work, url, int(port), Run(at_once=int(at_once), per_minute=int(per_minute)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["sqlite", "postgresql"])
    parser.add_argument("--small", action="store_true", help="with less, however long it takes")
    arguments = parser.parse_args()
    kind, run = arguments.kind, SMALL if arguments.small else Run()
    with a_database(kind) as url:
        seen = anyio.run(try_it, url, run)
    allowed = 1.1 * run.dictated + LEASE * (run.kills + run.freezes)
    click.echo(f"{kind}: {seen.done} of {run.deliveries} done in {seen.seconds:.0f} s")
    click.echo(f"  the rate dictates {run.dictated:.0f} s; allowed are {allowed:.0f} s")
    click.echo(f"  at once: {seen.most}, with frozen ones {seen.most_with_frozen}")
    click.echo(f"  claims in a minute: at most {seen.most_in_a_minute}; calls: {seen.calls}")
    return int(
        seen.most > run.at_once
        or seen.most_in_a_minute > run.per_minute
        or (seen.seconds > allowed and not arguments.small)
        or seen.calls < run.deliveries
        or seen.done != run.deliveries
    )


if __name__ == "__main__":
    sys.exit(main())
