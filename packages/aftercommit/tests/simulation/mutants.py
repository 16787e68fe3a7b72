"""Runs the simulation on an engine that is broken, in many ways, and tells which of them it finds.

An engine that is broken is a copy in a folder of its own, which goes before the real one in the
path of a process. The list is in `mutations.py`.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Literal, NamedTuple

import aftercommit

from simulation.nights import run_nights
from simulation.postgresql import running_server
from simulation.schedules import schedules_on
from simulation.seeds import repeatable, run_seed
from simulation.seeds import run as run_world

ENGINE = Path(aftercommit.__file__).parent
TESTS = Path(__file__).parents[1]
IN_MEMORY = Path("/dev/shm")
FOUND = "found"
LONGEST = 900.0  # seconds for all seeds of a mutation
NIGHTS, NIGHT_SEEDS = 60, 2
PROBLEM = re.compile(r"^(seed \d+|\w+): (.*)")


class Change(NamedTuple):
    """A text of a file of the engine, which occurs there once, and what stands there instead."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A way to break the engine: what is broken then, in words, and what is changed for it.

    `expected` is FOUND, or the reason why no simulation can find it, such as a proof that nothing
    differs that anybody was promised.
    """

    name: str
    file: str
    old: str
    new: str
    also: Sequence[Change] = ()
    expected: str = FOUND
    database: Literal["sqlite", "postgresql"] = "sqlite"

    @property
    def changes(self) -> Sequence[Change]:
        """All that is changed."""
        return [Change(self.file, self.old, self.new), *self.also]


def mutate(text: str, file: str, mutation: Mutation) -> str:
    """Return the text of a file of the engine with a mutation.

    :raises ValueError: if it does not fit: a text is not there, or more than once
    """
    for change in (each for each in mutation.changes if each.file == file):
        if (count := text.count(change.old)) != 1:
            problem = f"{file} has this {count} times: {change.old}"
            raise ValueError(problem)
        text = text.replace(change.old, change.new)
    return text


class Result(NamedTuple):
    """What became of a mutation: the seed or schedule that has found it, and by which check."""

    mutation: Mutation
    found: str
    problem: str
    seconds: float

    @property
    def is_as_expected(self) -> bool:
        """Whether it was found if it can be, and not if the list says that it cannot be."""
        return bool(self.found) == (self.mutation.expected == FOUND)

    def __str__(self) -> str:
        sign = " " if self.is_as_expected else "✗"
        found = self.found or "not found"
        return (
            f"{sign} {self.mutation.name:80.80} {found:9.9} {self.seconds:4.0f} s  {self.problem}"
        )


def run(mutation: Mutation, *, seeds: int, server: str) -> Result:
    """Run seeds on an engine with this mutation, until one fails."""
    begun = monotonic()
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        engine = Path(folder, ENGINE.name)
        shutil.copytree(ENGINE, engine)
        for file in {change.file for change in mutation.changes}:
            before = Path(engine, file).read_text()
            Path(engine, file).write_text(mutate(before, file, mutation))
        path = os.pathsep.join([folder, str(TESTS), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        command = [sys.executable, "-m", "simulation.mutants", str(seeds), server]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=LONGEST
            )
        except subprocess.TimeoutExpired:
            return Result(mutation, "", f"no end within {LONGEST:.0f} s", LONGEST)
    seconds = monotonic() - begun
    if found := PROBLEM.search(done.stdout):
        return Result(mutation, found[1], found[2], seconds)
    problem = done.stderr.strip().splitlines()[-1] if done.returncode else ""
    return Result(mutation, "", problem, seconds)


def find() -> int:
    """Run schedules, some nights, and then seeds, until one fails; print that."""
    _, seeds, server = sys.argv
    for plan, script in schedules_on(server):
        try:
            problem = run_world(plan, script, postgresql=server).problem
        except AssertionError:  # of the schedule itself
            problem = "it does not come so far"
        if problem:
            print(f"{script.__name__}: {problem}", flush=True)
            return 1
    for seed in range(1, NIGHT_SEEDS + 1):
        if problem := run_nights(seed, NIGHTS, postgresql=server).problem:
            print(f"nights: {problem}", flush=True)
            return 1
    for seed in range(1, int(seeds) + 1):
        if problem := run_seed(seed, postgresql=server).problem:
            print(f"seed {seed}: {problem}", flush=True)
            return 1
    return 0


def main(mutations: Sequence[Mutation]) -> None:
    """Try all mutations of a database, or those with parts of names; print what was found by what.

    The exit status is 1 if one was not found that has to be, or found though it cannot be.
    """
    parser = argparse.ArgumentParser("python -m simulation.mutations")
    parser.add_argument("names", nargs="*", help="parts of names; without them, all are tried")
    parser.add_argument("--seeds", type=int, default=50, help="how many, at most, for each")
    parser.add_argument("--together", type=int, default=2, help="how many at the same time")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    wanted = [
        each
        for each in mutations
        if each.database == options.database
        and (not options.names or any(name in each.name for name in options.names))
    ]
    needs_server = options.database == "postgresql"
    with (
        running_server() if needs_server else nullcontext("") as server,
        ThreadPoolExecutor(options.together) as pool,
    ):
        results = []
        for result in pool.map(partial(run, seeds=options.seeds, server=server), wanted):
            print(result, flush=True)
            results.append(result)
    wrong = sum(not each.is_as_expected for each in results)
    found = sum(bool(each.found) for each in results)
    print(f"{len(results)} mutations, {found} found; {wrong} not as the list says", flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    repeatable("simulation.mutants", find)
