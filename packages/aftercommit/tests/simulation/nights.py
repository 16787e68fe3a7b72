"""Years of nights: a schedule in a world whose clock is moved on by days, with two to five workers.

    python -m simulation.nights --years 10

Workers are killed, frozen and cut off, or all of them are gone for days. After each COMMIT it is
checked that a night was stored once, not before its time, and with the number of those that were
missed; and again and again that the latest one is there. Which nights there are is computed here in
another way than by the library of cron expressions.
"""

from argparse import ArgumentParser
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import anyio
import sqlalchemy as sa
from aftercommit import Every, IdempotencyKey, Outbox, Sources, on
from aftercommit.errors import ConcurrentUpdate, TransientError
from sqlalchemy.ext.asyncio import AsyncSession

from simulation import shop
from simulation.faults import Faults
from simulation.plan import Plan
from simulation.postgresql import running_server
from simulation.seeds import Verdict, repeatable, run
from simulation.simulation import POLICY, SimulatedServer
from simulation.world import BEGIN, Process, World

DAY = 86400.0
YEAR = 365.25
PATIENCE = 300.0  # seconds in which the latest night is there, if anybody is up
DRAIN = 600.0
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class NightHasCome:
    """It is half past two in Berlin."""

    at: float


async def keep(event: NightHasCome, session: AsyncSession, idempotency_key: IdempotencyKey) -> None:
    """Have an effect in the database."""
    await session.execute(sa.insert(shop.effects), [{"key": idempotency_key}])


NIGHTLY = Every(
    "nightly", "30 2 * * *", lambda at: NightHasCome(at.timestamp()), tz="Europe/Berlin"
)


def nights_after(seconds: float) -> Iterator[float]:
    """Yield half past two of each day; where it is left out, the end of the hour that is."""
    day = datetime.fromtimestamp(seconds, BERLIN).date() - timedelta(days=1)
    while True:
        at = datetime(day.year, day.month, day.day, 2, 30, tzinfo=BERLIN)
        if at.astimezone(UTC).astimezone(BERLIN).hour != 2:
            at = at.replace(hour=3, minute=0)
        if at.timestamp() > seconds:
            yield at.timestamp()
        day += timedelta(days=1)


class NightLedger:
    """What is stored of the nights, as of each COMMIT."""

    def __init__(self, world: World, server: SimulatedServer, nights: int) -> None:
        self._world, self._server = world, server
        self.nights = [*islice(nights_after(BEGIN), 3 * nights + 100)]
        self.stored = set[float]()
        self.last: float | None = None  # or when it began
        self.checks = 0
        self._position = -1

    @property
    def latest(self) -> float | None:
        """The latest night that has come since the schedule has begun."""
        found = bisect_right(self.nights, self._world.wall_clock)
        night = self.nights[found - 1] if found else None
        return night if night and self.last is not None and night >= self.last else self.last

    def look(self, by: Process | None = None) -> None:
        """Check what was committed."""
        if not self._server.has_changed():
            return
        self.checks += 1
        new = (
            "SELECT position, data, recorded_at FROM aftercommit_events"
            f" WHERE position > {self._position} ORDER BY position"
        )
        for position, data, recorded_at in self._server.query(new):
            self._position, night = position, float(data.partition(":")[2].rstrip("}"))
            told = datetime.fromtimestamp(night, BERLIN)
            self._world.story.tell("  COMMIT", f"the night of {told}")
            if night in self.stored:
                self._world.fail(f"the night of {told} is stored twice")
            if night not in self.nights:
                self._world.fail(f"{told} is no night")
            if recorded_at < night:
                self._world.fail(f"the night of {told} is stored before it has come")
            self.stored.add(night)
        self._read_row()

    def _read_row(self) -> None:
        rows = self._server.query("SELECT last_at, missed FROM aftercommit_schedules")
        for last, missed in rows:
            if self.last is not None and last != self.last:
                come = bisect_right(self.nights, last) - bisect_right(self.nights, self.last)
                if come != missed + 1:
                    self._world.fail(f"{missed} nights were missed, it says, and {come} have come")
                if last not in self.stored:
                    self._world.fail("a night counts as stored, and there is no event")
            if self.stored and max(self.stored) != last:
                self._world.fail("a night is stored, and does not count")
            self.last = last


class Nights:
    """A world with nothing but a schedule."""

    def __init__(self, plan: Plan, world: World, faults: Faults, server: SimulatedServer) -> None:
        self.plan, self.world, self.faults, self.server = plan, world, faults, server
        self.ledger = NightLedger(world, server, plan.nights)
        self._ids = Random(f"ids {plan.seed}")
        self._begun = self._wanted = 0

    def run(self) -> None:
        """Let the nights pass, and check that each is there that has to be.

        :raises Violation: if a promise is broken
        """
        world, random, ledger = self.world, self.world.random, self.ledger
        self._wanted = 2
        world.after(0.0, self._supervise)
        self._until_there()
        passed = 0.0
        while passed < self.plan.nights:
            if random.random() < 0.05:  # nobody is up for days
                self._wanted = 0
                for process in [*world.processes]:
                    process.crash("as all others do")
                ledger.look()
                before, days = len(ledger.stored), random.uniform(1.1, 12)
                self._jump(days)
                self._wanted = random.randint(2, 5)
                self._until_there()
                if len(ledger.stored) != before + 1:
                    more = len(ledger.stored) - before
                    world.fail(f"{more} nights are stored after {days:.1f} days without a worker")
            else:
                self._wanted = random.randint(2, 5)
                days = random.uniform(0.1, 1.4)
                self._jump(days)
                if random.random() < 0.3 and world.processes:
                    world.after(random.uniform(0, 4), random.choice(world.processes).crash)
                world.run(random.uniform(0, 2))
                self._until_there()
            passed += days
        self._end()

    def _jump(self, days: float) -> None:
        self.world.clock_is_ahead += days * DAY
        self.faults.jumped_at = self.world.now

    def _until_there(self) -> None:
        def is_there() -> bool:
            return self.ledger.last is not None and self.ledger.last == self.ledger.latest

        if not self.world.run(PATIENCE, is_there):
            self.world.fail(f"the latest night is not stored after {PATIENCE:.0f} s")

    def _end(self) -> None:
        self.faults.heal()
        open_ones = "SELECT count(*) FROM aftercommit_deliveries WHERE completed_at IS NULL"
        end = self.world.now + DRAIN
        while self.server.query(open_ones)[0][0] and self.world.now < end:
            self.world.run(5)
        keys = [key for (key,) in self.server.query("SELECT key FROM effects")]
        if not len(keys) == len({*keys}) == len(self.ledger.stored):
            self.world.fail(f"{len(self.ledger.stored)} nights have had {len(keys)} effects")

    def _supervise(self) -> None:
        for _ in range(self._wanted - len(self.world.processes)):
            self._begun += 1
            process = Process(self.world, "worker", f"worker{self._begun}")
            process.start(self._live(process))
        for process in self.world.processes[self._wanted :]:
            process.crash("as one too many")
        self.world.after(self.world.random.uniform(0.5, 3), self._supervise)

    async def _live(self, process: Process) -> None:
        settings: dict[str, Any] = {**POLICY}
        outbox = Outbox(
            "shop",
            self.server.url,
            [on(NightHasCome, keep)],
            every=[NIGHTLY],
            extensions=self.server.extensions,
            sources=Sources(
                now=lambda: datetime.fromtimestamp(self.world.wall_clock, UTC),
                new_id=lambda: UUID(int=self._ids.getrandbits(128), version=4),
                random=self.world.random.random,
            ),
            instance_name=process.name,
            pool_size=3,
            worker_concurrency=2,
            **settings,
        )
        try:
            async with outbox.running():
                process.is_up = True
                await anyio.sleep_forever()
        except (TransientError, ConcurrentUpdate) as error:
            self.world.story.tell(process, f"ends: {error!r}")
        except Exception as error:
            self.world.fail(f"{process} ends with {error!r}")
        self.world.after(0.0, process.end)


def run_nights(seed: int, nights: int, *, postgresql: str = "") -> Verdict:
    """Let so many nights pass in the world of a seed."""
    random = Random(f"nights {seed}")
    plan = Plan(
        seed=seed,
        nights=nights,
        crashes=random.choice([0.0, 0.004]),
        breaks=random.choice([0.0, 0.004]),
        freezes=random.choice([0.0, 0.004]),
        longest_freeze=20.0,
    )
    return run(plan, Nights.run, postgresql=postgresql, kind=Nights)


def main() -> int:
    """Let years pass, and print what has become of them."""
    parser = ArgumentParser(prog="python -m simulation.nights", description=__doc__)
    parser.add_argument("--years", type=float, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--server", metavar="URL", default="", help="one of PostgreSQL that runs")
    options, failed = parser.parse_args(), 0
    is_needed = options.database == "postgresql" and not options.server
    with running_server() if is_needed else nullcontext(options.server) as server:
        for seed in range(1, options.seeds + 1):
            verdict = run_nights(seed, int(options.years * YEAR), postgresql=server)
            failed += bool(verdict.problem)
            told = f"{verdict.checks} commits checked, {verdict.faults} faults"
            print(f"nights of seed {seed}: {verdict.problem or 'hold'}; {told}", flush=True)
            if verdict.problem:
                print("\n".join(verdict.story.splitlines()[-40:]))
    return failed


if __name__ == "__main__":
    repeatable("simulation.nights", main)
