"""Run seeds: `python -m simulation 17`, or `python -m simulation 1 100`.

A seed that fails prints its story, as short as it can be made, and what runs it again.
"""

import os
import sys
import time
import warnings
from argparse import ArgumentParser

if os.environ.get("PYTHONHASHSEED") != "0":  # what is in sets has to be in one order
    os.execve(
        sys.executable,
        [sys.executable, "-m", "simulation", *sys.argv[1:]],
        {**os.environ, "PYTHONHASHSEED": "0"},
    )

from simulation.seeds import run_seed


def main() -> int:
    """Run what the arguments ask for, and return the status of the process."""
    parser = ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("first", type=int, metavar="SEED")
    parser.add_argument("last", type=int, nargs="?", metavar="LAST", help="run all seeds up to it")
    parser.add_argument("-v", "--details", action="store_true", help="show all that happens")
    parser.add_argument("--digests", action="store_true", help="print a hash of each story")
    parser.add_argument("--stop", action="store_true", help="stop at the first that fails")
    arguments = parser.parse_args()
    first, last = arguments.first, arguments.last or arguments.first
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None  # of tasks of crashed processes, when they are collected
    begun, number, failed, faults, checks, virtual = time.process_time(), 0, 0, 0, 0, 0.0
    for seed in range(first, last + 1):
        outcome = run_seed(seed)
        number += 1
        faults, checks, virtual = faults + outcome.faults, checks + outcome.checks, virtual + outcome.seconds
        if first == last or arguments.details:
            print(outcome.details if arguments.details else outcome.story)
        if outcome.problem:
            failed += 1
            print(f"seed {seed} fails: {outcome.problem}", flush=True)
            if arguments.stop:
                break
        elif arguments.digests:
            print(seed, outcome.digest)
    seconds = time.process_time() - begun
    print(
        f"{number} seeds, {failed} failed, {faults} faults, {checks} commits checked, "
        f"{virtual / 3600:.1f} virtual hours in {seconds:.1f} s of processor's time"
    )
    return bool(failed)


status = main()
sys.stdout.flush()
os._exit(status)  # the tasks of dead processes are not worth being cleaned up
