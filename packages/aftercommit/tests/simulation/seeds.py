"""Runs seeds, each in a world of its own."""

import gc
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import sqlalchemy as sa
from aftercommit.testing import migrate

from simulation import driver, shop
from simulation.driver import SQLiteServer
from simulation.faults import Faults
from simulation.plan import Plan
from simulation.postgresql import PostgreSQLServer, database
from simulation.simulation import SimulatedServer, Simulation, logged
from simulation.world import Violation, World

IN_MEMORY = Path("/dev/shm")  # where there is one: no file outlives its world
COLLECTED_TOGETHER = 5  # worlds: garbage of crashed processes runs its `finally` only between them

Finished = tuple[float, Sequence["Verdict"]]
"""The processor's time of a batch in seconds, and what has become of its worlds."""
Script = Callable[[Any], None]
Kind = Callable[[Plan, World, Faults, SimulatedServer], Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has become of a world; no problem is an empty text."""

    plan: Plan
    problem: str
    story: str
    details: str
    digest: str
    faults: int
    drawn: int  # faults, also those that the plan leaves out
    seconds: float
    checks: int

    @property
    def kind_of_problem(self) -> str:
        """The problem without the names and numbers that it is about."""
        return re.sub(r"\S*\(.*?\)|\S*\d\S*", "…", self.problem)

    @property
    def without_story(self) -> "Verdict":
        """The same in few bytes."""
        return replace(self, story="", details="")


@contextmanager
def world_of(plan: Plan, postgresql: str = "", kind: Kind = Simulation) -> Iterator[Any]:
    """Open a world in which nothing has happened yet: on SQLite, unless it is given a server."""
    driver.install()
    gc.disable()
    try:
        world = World(plan.seed, plan.latency)
        with _server(world, postgresql, in_several=plan.seed % 2 == 1) as server:
            faults = Faults(world, plan, server)
            simulation = kind(plan, world, faults, server)
            with server.running(faults, simulation.ledger.look), logged(world):
                yield simulation
                for process in [*world.processes]:
                    process.end()
    finally:
        gc.enable()


@contextmanager
def _server(
    world: World, postgresql: str, *, in_several: bool
) -> Iterator[SQLiteServer | PostgreSQLServer]:
    if postgresql:
        yield PostgreSQLServer(world, database(postgresql), in_several=in_several)
        return
    folder = str(IN_MEMORY) if IN_MEMORY.is_dir() else None
    with TemporaryDirectory(prefix="simulation-", dir=folder) as place:
        file = Path(place, "shop.db")
        file.write_bytes(_empty_database())
        yield SQLiteServer(world, file)


def run(
    plan: Plan,
    script: Script = Simulation.run,
    *,
    postgresql: str = "",
    kind: Kind = Simulation,
) -> Verdict:
    """Run a world of a kind, and return what has become of it."""
    with world_of(plan, postgresql, kind) as simulation:
        world = simulation.world
        with suppress(Violation):  # the world remembers it
            script(simulation)
        story = world.story
        return Verdict(
            plan=plan,
            problem=world.problem,
            story=story.table(),
            details=story.table(details=True),
            digest=story.digest,
            faults=simulation.faults.number,
            drawn=simulation.faults.drawn,
            seconds=world.now,
            checks=simulation.ledger.checks,
        )


def run_seed(seed: int, *, postgresql: str = "") -> Verdict:
    """Run the world of a seed."""
    verdict = run(Plan.of(seed, shop.HANDLERS), postgresql=postgresql)
    if seed % COLLECTED_TOGETHER == 0:
        gc.collect()
        gc.freeze()  # what is left is there to stay
    return verdict


def run_batch(seeds: Sequence[int], postgresql: str = "", *, stop: bool = False) -> Finished:
    """Run some seeds in this process, perhaps only until one fails."""
    be_quiet()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: who has begun this ends it
    verdicts = list[Verdict]()
    for seed in seeds:
        verdicts.append(run_seed(seed, postgresql=postgresql))
        if stop and verdicts[-1].problem:
            break
    shown = [each if each.problem else each.without_story for each in verdicts]
    return time.process_time(), shown


def be_quiet() -> None:
    """Let nothing be told of tasks of crashed processes, when they are collected as garbage."""
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None


def repeatable(module: str, main: Callable[[], int]) -> NoReturn:
    """Run `main` of a module as a program in which sets have one order each time."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    be_quiet()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a server is stopped
    status = main()
    sys.stdout.flush()
    os._exit(status)  # what is left of crashed processes is not worth being cleaned up


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/template.db"
        migrate(shop.application(), url)
        engine = sa.create_engine(url)
        shop.metadata.create_all(engine)
        engine.dispose()
        return Path(folder, "template.db").read_bytes()
