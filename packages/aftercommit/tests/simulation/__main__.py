"""Run seeds: `python -m simulation 17`, or `python -m simulation 1 100`.

One seed that fails is made smaller, and prints its story and its plan: with `Simulation.run`, that
is a schedule (`schedules.py`).
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from multiprocessing import get_context

from simulation.plan import Plan
from simulation.postgresql import running_server
from simulation.seeds import Finished, repeatable, run, run_batch, run_seed
from simulation.shrinking import shrunk

BATCH = 50  # seeds in one process: garbage of crashed processes bounds it
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


def run_all(arguments: Namespace) -> int:
    """Run seeds in batches, each in a process of its own, and sum them up."""
    seeds = range(arguments.first, arguments.last + 1)
    batches = [seeds[begin : begin + BATCH] for begin in range(0, len(seeds), BATCH)]
    failed, number, faults, checks, virtual, spent = list[int](), 0, 0, 0, 0.0, 0.0
    for seconds, verdicts in finished(batches, arguments):
        spent += seconds
        for each in verdicts:
            number, faults, checks = number + 1, faults + each.faults, checks + each.checks
            virtual += each.seconds
            if each.problem:
                failed.append(each.plan.seed)
                print(f"seed {each.plan.seed} fails: {each.problem}", flush=True)
            elif arguments.digests:
                print(each.plan.seed, each.digest)
        if failed and arguments.stop:
            break
    print(
        f"{number} seeds, {len(failed)} failed, {faults} faults, {checks} commits checked, "
        f"{virtual / 3600:.1f} virtual hours in {spent:.0f} s of processor's time"
    )
    if failed:
        database = " DATABASE=postgresql" if arguments.server else ""
        print(f"look at one: make simulate SEED={failed[0]}{database}")
    return bool(failed)


def finished(batches: Iterable[Sequence[int]], arguments: Namespace) -> Iterator[Finished]:
    """Yield what has become of batches, with the processor's time they took, in their order."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=spawn, max_tasks_per_child=1) as executor:
        try:
            yield from executor.map(partial(run_batch, postgresql=arguments.server), batches)
        finally:
            executor.shutdown(cancel_futures=True)


if __name__ == "__main__":
    repeatable("simulation", main)
