"""Run seeds: `python -m simulation 17`, or `python -m simulation 1 100`.

One seed that fails is made smaller, and prints its story and its plan: with `Simulation.run`, that
is a schedule (`schedules.py`).
"""

import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from time import monotonic

from simulation.plan import Plan
from simulation.postgresql import running_server
from simulation.seeds import Finished, Verdict, repeatable, run, run_batch, run_seed
from simulation.shrinking import shrunk

BATCH = 10  # seeds in one process: garbage of crashed processes bounds it
A_MINUTE = 60.0  # after which it tells how far it is
SHRINKING_ATTEMPTS = 300


def main() -> int:
    """Run what the arguments ask for, and return the status of the process."""
    parser = ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("first", type=int, metavar="SEED")
    parser.add_argument("last", type=int, nargs="?", metavar="LAST", help="run all seeds up to it")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="run so many batches at a time")
    parser.add_argument("-v", "--details", action="store_true", help="show all that happens")
    parser.add_argument("--digests", action="store_true", help="print a hash of each story")
    parser.add_argument("--stop", action="store_true", help="stop at the first that fails")
    parser.add_argument(
        "--shrink", action=BooleanOptionalAction, default=True, help="make what fails smaller"
    )
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--server", metavar="URL", default="", help="one of PostgreSQL that runs")
    arguments = parser.parse_args()
    is_needed = arguments.database == "postgresql" and not arguments.server
    with running_server() if is_needed else nullcontext(arguments.server) as server:
        arguments.server = server
        return show_one(arguments) if arguments.last is None else run_all(arguments)


def show_one(arguments: Namespace) -> int:
    """Run one seed, and show its story, which is short if it fails."""
    verdict = run_seed(arguments.first, postgresql=arguments.server)
    if verdict.problem and arguments.shrink:
        print(f"seed {arguments.first} fails: {verdict.problem}")
        fails = partial(drawn_by, server=arguments.server, kind=verdict.kind_of_problem)
        plan = shrunk(verdict.plan, fails, attempts=SHRINKING_ATTEMPTS)
        verdict = run(plan, postgresql=arguments.server)
        print(f"Made smaller: {verdict.plan}\n")
    print(verdict.details if arguments.details else verdict.story)
    return bool(verdict.problem)


def drawn_by(plan: Plan, server: str, kind: str) -> int | None:
    """Return how many faults a plan draws, if it has a problem of this kind."""
    verdict = run(plan, postgresql=server)
    return verdict.drawn if verdict.kind_of_problem == kind else None


@dataclass
class Summary:
    """What has become of the seeds that have run."""

    failed: list[int] = field(default_factory=list)
    number: int = 0
    faults: int = 0
    checks: int = 0
    hours: float = 0.0
    spent: float = 0.0

    def add(self, verdict: Verdict) -> None:
        """Count one more."""
        self.number, self.faults = self.number + 1, self.faults + verdict.faults
        self.checks, self.hours = self.checks + verdict.checks, self.hours + verdict.seconds / 3600
        if verdict.problem:
            self.failed.append(verdict.plan.seed)

    def __str__(self) -> str:
        return (
            f"{self.number} seeds, {len(self.failed)} failed, {self.faults} faults, "
            f"{self.checks} commits checked, {self.hours:.1f} virtual hours in {self.spent:.0f} s "
            "of processor's time"
        )


def run_all(arguments: Namespace) -> int:
    """Run seeds in batches, each in a process of its own, and sum them up."""
    seeds = range(arguments.first, arguments.last + 1)
    summary, told_at = Summary(), monotonic()
    with suppress(KeyboardInterrupt, SystemExit):  # asked to stop: what has run is summed up
        for seconds, verdicts in finished(seeds, arguments):
            summary.spent += seconds
            for each in verdicts:
                summary.add(each)
                show(each, digest=arguments.digests)
            if monotonic() - told_at >= A_MINUTE:
                told_at = monotonic()
                print(f"after a minute more: {summary}", file=sys.stderr, flush=True)
            if summary.failed and arguments.stop:
                break
    if left := len(seeds) - summary.number:
        print(f"stopped before the end: {left} seeds have no result")
    print(summary)
    if summary.failed:
        database = " DATABASE=postgresql" if arguments.server else ""
        print(f"look at one: make simulate SEED={summary.failed[0]}{database}")
    return bool(summary.failed or left)


def show(verdict: Verdict, *, digest: bool) -> None:
    """Print what has failed, or else the hash of a story."""
    if verdict.problem:
        print(f"seed {verdict.plan.seed} fails: {verdict.problem}", flush=True)
    elif digest:
        print(verdict.plan.seed, verdict.digest, flush=True)


def finished(seeds: Sequence[int], arguments: Namespace) -> Iterator[Finished]:
    """Yield what has become of batches, with the processor's time they took, in their order.

    After each minute in which none has ended, it yields an empty one. Only as many are begun as can
    run; when it is asked to stop, those are ended.
    """
    batches = [seeds[begin : begin + BATCH] for begin in range(0, len(seeds), BATCH)]
    waiting, begun = iter(batches), list[Future[Finished]]()
    spawn = get_context("spawn")
    executor = ProcessPoolExecutor(arguments.jobs, mp_context=spawn, max_tasks_per_child=1)
    try:
        while True:
            for batch in islice(waiting, arguments.jobs - sum(not each.done() for each in begun)):
                begun.append(
                    executor.submit(run_batch, batch, arguments.server, stop=arguments.stop)
                )
            if not begun:
                executor.shutdown()
                return
            running = [each for each in begun if not each.done()]
            if not wait(running, A_MINUTE, return_when=FIRST_COMPLETED).done and running:
                yield 0.0, ()
            while begun and begun[0].done():
                yield begun.pop(0).result()
    finally:
        for process in [*(executor._processes or {}).values()]:  # there is no public way
            process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)  # it may wait for ended ones for ever


if __name__ == "__main__":
    repeatable("simulation", main)
